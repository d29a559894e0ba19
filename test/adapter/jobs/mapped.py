# mmap: for reading, private, and shared for writing.
import mmap
import os
import zlib

d = os.environ['D']
with open(d + '/r', 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    print(len(m), zlib.crc32(m), m[5000:5004], m.find(b'\x00\x01'))
    m.close()
with open(d + '/r', 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
    m[0:4] = b'copy'
    print(m[:6])
    m.close()
with open(d + '/s', 'w+b') as f:
    f.truncate(10000)
    m = mmap.mmap(f.fileno(), 10000)
    m[100:105] = b'hello'
    m[9000:9003] = b'end'
    m.flush()
    m[0:1] = b'!'
    m.close()
data = open(d + '/s', 'rb').read()
print(data.count(0), zlib.crc32(data))
