# A temporary file that has no name any more while it is used.
import os
import tempfile

with tempfile.TemporaryFile(dir=os.environ['D']) as f:
    f.write(b'abc')
    f.seek(0)
    print(f.read())
