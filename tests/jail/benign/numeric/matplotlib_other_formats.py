# uses: SVG and PDF writers, their fonts and compression
# out: <?xml %PDF-1.4
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
axes.bar(["a", "b"], [1, 2])
figure.savefig("plot.svg")
figure.savefig("plot.pdf")
plt.close(figure)
print(open("plot.svg").read(5), open("plot.pdf", "rb").read(8).decode())
