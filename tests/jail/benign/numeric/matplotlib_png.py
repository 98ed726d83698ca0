# uses: fonts, a cache directory, the PNG encoder
# shows: image/png
# file: plot.png
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
axes.plot([1, 2, 3], [1, 4, 9], label="squares")
axes.set_title("Ünïcödé $x^2$")
axes.legend()
figure.savefig("plot.png", dpi=60)
plt.show()
