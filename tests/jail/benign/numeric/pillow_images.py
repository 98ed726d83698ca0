# uses: image codecs in C
# out: (8, 8) (254, 0, 0) PNG
import io

from PIL import Image

image = Image.new("RGB", (16, 16), (255, 0, 0)).resize((8, 8))
jpeg = io.BytesIO()
image.save(jpeg, "JPEG")
image.save("red.png")
print(image.size, Image.open(jpeg).getpixel((1, 1)), Image.open("red.png").format)
