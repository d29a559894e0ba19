# shutil, pathlib, tempfile and glob.
import glob
import os
import pathlib
import shutil
import tempfile

d = pathlib.Path(os.environ['D'])
tree = os.environ['IN'] + '/tree'
shutil.copy(tree + '/run.sh', d)
shutil.copy2(tree + '/private', d / 'p')
print(oct((d / 'p').stat().st_mode), (d / 'p').stat().st_mtime)
shutil.copytree(tree, d / 't')
shutil.move(str(d / 't'), str(d / 'u'))
print(sorted(str(p.relative_to(d)) for p in d.rglob('*')))
shutil.rmtree(d / 'u' / 'deep')
(d / 'w').write_text('text')
print((d / 'w').read_bytes(), (d / 'w').exists(), (d / 'n').exists(), d.is_dir())
(d / 'w').rename(d / 'v')
(d / 'sub').mkdir()
(d / 'sub').rmdir()
(d / 'k').touch()
(d / 'k').unlink()
print(sorted(glob.glob(str(d) + '/*')))
shutil.make_archive(os.environ['T'] + '/ar', 'tar', d)
print(shutil.disk_usage(d).total > 0)
with tempfile.NamedTemporaryFile(dir=d) as f:
    f.write(b'x')
    f.flush()
    print(os.path.getsize(f.name))
with tempfile.TemporaryDirectory(dir=d) as t:
    open(t + '/f', 'w').close()
