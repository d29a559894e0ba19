# 1,000 files open at once.
import os

d = os.environ['D']
files = [open('%s/f%04d' % (d, i), 'w+') for i in range(1000)]
for i, f in enumerate(files):
    f.write('file %d\n' % i)
for f in files:
    f.seek(0)
print(sum(len(f.read()) for f in files))
for f in files:
    f.close()
print(len(os.listdir(d)))
