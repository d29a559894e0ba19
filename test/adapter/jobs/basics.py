# What everybody does with open(): text, bytes, append, update, seek, exclusive, buffers.
import os

d = os.environ['D']
p = os.path.join(d, 'a')
with open(p, 'w') as f:
    print('hello', file=f)
with open(p, 'a') as f:
    f.write('more\n')
with open(p) as f:
    print(f.read(), end='')
with open(p, 'r+b') as f:
    f.seek(2)
    f.write(b'XX')
    f.seek(0, 2)
    print(f.tell())
    f.truncate(8)
    f.seek(0)
    print(f.read())
with open(d + '/x', 'xb') as f:
    f.write(bytes(range(256)) * 40)
try:
    open(d + '/x', 'xb')
except FileExistsError as e:
    print(e.errno)
try:
    open(d + '/none')
except FileNotFoundError as e:
    print(e.errno)
with open(d + '/x', 'rb') as f:
    print(f.seek(-10, 2), f.read(), f.readinto(bytearray(3)))
for line in open(os.environ['IN'] + '/small.txt'):
    print(line, end='')
with open(d + '/buffered', 'wb', buffering=65536) as f:
    for i in range(100000):
        f.write(b'%d,' % i)
with open(d + '/unbuffered', 'wb', buffering=0) as f:
    for i in range(300):
        f.write(b'%d;' % i)
print(os.path.getsize(d + '/buffered'), os.path.getsize(d + '/unbuffered'))
