# numpy: through stdio on a duplicated descriptor, and through mmap.
import os
import numpy as n

d = os.environ['D']
a = n.arange(100000, dtype='f8')
a.tofile(d + '/a')
b = n.fromfile(d + '/a')
print((a == b).all(), os.path.getsize(d + '/a'))
with open(d + '/two', 'wb') as f:
    a[:10].tofile(f)
    f.write(b'mid')
    a[10:20].tofile(f)
with open(d + '/two', 'rb') as f:
    print(n.fromfile(f, count=10).sum(), f.read(3), n.fromfile(f).sum())
n.save(d + '/s.npy', a)
print(n.load(d + '/s.npy').sum(), n.load(d + '/s.npy', mmap_mode='r')[500])
n.savetxt(d + '/t.txt', a[:9])
print(n.loadtxt(d + '/t.txt'))
m = n.memmap(d + '/m', dtype='i4', mode='w+', shape=(1000,))
m[:] = n.arange(1000)
m.flush()
del m
print(n.fromfile(d + '/m', 'i4').sum())
