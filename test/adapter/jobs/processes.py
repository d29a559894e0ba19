# Children, threads and forks that share files, and redirections made by subprocess.
import os
import subprocess
import threading

d = os.environ['D']
with open(d + '/out', 'wb') as f:
    line = 'echo from sh; echo err >&2'
    subprocess.run(['sh', '-c', line], stdout=f, stderr=f, check=True)
print(open(d + '/out').read(), end='')
with open(d + '/out', 'rb') as f:
    print(subprocess.run(['wc', '-c'], stdin=f, capture_output=True).stdout)
print(subprocess.check_output(['cat', d + '/out']))
print(subprocess.call('cd "$D" && echo here > cwd && cat cwd', shell=True))
print(subprocess.run(['ls'], cwd=d, capture_output=True, text=True).stdout)
p = subprocess.Popen(['tee', d + '/tee'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
p.communicate(b'x' * 100000)
shared = os.open(d + '/shared', os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def work(n):
    for i in range(100):
        os.write(shared, b'%d:%03d\n' % (n, i))


threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for t in threads:
    t.start()
pids = []
for n in range(4, 7):
    pid = os.fork()
    if pid == 0:
        work(n)
        os._exit(0)
    pids.append(pid)
for t in threads:
    t.join()
print([os.waitpid(p, 0)[1] for p in pids])
lines = open(d + '/shared').read().split()
print(len(lines), sorted(lines)[::100])
heir = os.open(d + '/inherited', os.O_WRONLY | os.O_CREAT)
os.set_inheritable(heir, True)
os.write(heir, b'parent ')
subprocess.run(['sh', '-c', 'echo child >&%d' % heir], pass_fds=[heir])
os.write(heir, b'parent\n')
print(open(d + '/inherited').read())
action = (os.POSIX_SPAWN_OPEN, 1, d + '/spawn', os.O_WRONLY | os.O_CREAT, 0o644)
os.posix_spawn('/bin/sh', ['sh', '-c', 'echo spawned'], os.environ, file_actions=[action])
print(os.wait()[1], open(d + '/spawn').read())
