# uses: message building and parsing, mimetypes, base64
# out: text/plain [('Grüße', 'a.txt')] text/csv
import mimetypes
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

message = EmailMessage()
message["Subject"] = "Grüße"
message.set_content("body")
message.add_attachment(b"data", maintype="text", subtype="plain", filename="a.txt")
parsed = BytesParser(policy=policy.default).parsebytes(bytes(message))
print(
    parsed.get_body().get_content_type(),
    [(parsed["Subject"], part.get_filename()) for part in parsed.iter_attachments()],
    mimetypes.guess_type("x.csv")[0],
)
