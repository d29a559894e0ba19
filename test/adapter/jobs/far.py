# Offsets beyond 4 GiB.
import os

p = os.environ['D'] + '/big'
with open(p, 'w+b') as f:
    f.seek(5 << 30)
    f.write(b'far')
    f.seek((5 << 30) - 2)
    print(f.read(10), f.tell())
    f.seek(1 << 31)
    print(f.read(3))
    f.seek(0, 2)
    print(f.tell())
print(os.path.getsize(p))
os.unlink(p)
