/**
 * Families of libc's functions that need not be in native/preload/calls.def: they take neither a
 * path nor a descriptor, or one that can never be Kangaroo's, or a stream, which libc's tables
 * serve. A function of a future libc that fits none of them fails the coverage test until somebody
 * has looked at it.
 */

/** A reason, and patterns of whole names. */
const families = [
  // Text, numbers, memory.
  ['strings and memory', '(__)?(str|stp|wcs|wcp|wmem|mem|mb|raw)[a-z0-9_]*'],
  ['scanning: strings, or streams', '__(isoc99|isoc23)_[a-z]+'],
  [
    'characters',
    '_?_?(is|to)w?[a-z]+(_l)?',
    '(c8|c16|c32|w)rtomb|wcrtomb|btowc|wctob|wctomb|wctrans(_l)?|wctype(_l)?|wcwidth',
    '__(ctype|isctype|towctrans|wctrans|wctype|wcrtomb|wctomb)[a-z_]*|isctype|rpmatch',
  ],
  ['memory', 'b(cmp|copy|zero)|__bzero|swab|ffs(l|ll)?|__ffs|r?index|(__)?explicit_bzero(_chk)?'],
  [
    'numbers',
    'a(tof|toi|tol|toll|64l)|l64a|[efgq]+cvt(_r)?|str(from|to)[a-z0-9_]+',
    '(l|ll|imax)?(abs|div)|(ld|fr)exp[fl]?',
    '(modf|scalbn|copysign|finite|isinf|isnan)[fl]?',
    '__(finite|isinf|isnan|isnanf128|signbit)[fl]?|__fpclassify[a-z0-9]*',
    '[dejlmn]rand48(_r)?|(l?s(rand|eed)|lcong)(48)?(_r)?|s?rand(om)?(_r)?',
    '(init|set)state(_r)?',
  ],
  ['random numbers', 'seed48(_r)?|arc4random[a-z_]*|getrandom|getentropy'],
  [
    'numbers',
    'n?tohl?s?|hton[ls]|ntoh[ls]|gnu_dev_[a-z]+|gnu_get_libc_[a-z]+|confstr',
    '__confstr_chk',
  ],
  [
    'tables in memory',
    '[bl]search|lfind|qsort(_r)?|h(create|destroy|search)(_r)?',
    '_?_?t(delete|destroy|find|search|walk)(_r)?',
    '__t(delete|find|search|walk)(_r)?|insque|remque',
  ],
  [
    'words of a command line',
    '(__)?(argz|envz)_[a-z_]+|argp_[a-z_]+|getopt[a-z_]*|__posix_getopt|getsubopt',
  ],
  ['regular expressions', 'reg(comp|error|exec|free)|re_[a-z0-9_]+|advance|step'],
  [
    'memory',
    '(_?_?obstack|obstack)_[a-z0-9_]+',
    '(__libc_)?(malloc|calloc|realloc|reallocarray|free|memalign|valloc|pvalloc)',
    '(__libc_)?(mallopt|mallinfo2?|cfree)',
    'malloc_[a-z_]+|aligned_alloc|posix_memalign|mallinfo2?|mtrace|muntrace',
    'mcheck[a-z_]*|mprobe',
    's?brk|__sbrk|sstk|tr_break|__default_morecore',
  ],
  // Streams: what becomes of them is in stdio.c, beneath.
  [
    'streams: libc reads and writes by tables that are served',
    'f(close|closeall|eof|error|flush|getc|getpos(64)?|gets|getwc|getws)(_unlocked)?',
    'f(ileno|lockfile|printf|putc)(_unlocked)?',
  ],
  [
    'streams',
    'f(puts|putwc|putws|read|scanf|seek|seeko(64)?|setpos(64)?|tell)(_unlocked)?',
    'f(tello(64)?|trylockfile)(_unlocked)?',
    'f(unlockfile|wide|wprintf|write|wscanf|memopen|opencookie)(_unlocked)?',
    '(get|put)(c|char|s|w|wc|wchar)(_unlocked)?|unget(c|wc)|get(delim|line)|__getdelim',
    'clearerr(_unlocked)?|rewind|set(buf|buffer|linebuf|vbuf)|pclose|open_w?memstream',
    'perror|__xpg_strerror_r',
  ],
  [
    'streams and strings',
    'v?(as|f|fw|s|sn|sw|w)?(printf|scanf)|vf?w(printf|scanf)|vs?w(printf|scanf)',
    'vs(n|s)?(printf|scanf)',
    '__v?(as|f|fw|obstack_v?|s|sn|sw|w)?printf(_chk)?|__obstack_v?printf_chk',
    '__v?s(n|s)?(printf|scanf)',
  ],
  [
    'streams',
    '__v(f|s)scanf|__(fgets|fgetws|fread)(_unlocked)?_chk|__f?gets_chk',
    '__f(seeko|tello)64',
    '__f(bufsize|lbf|pending|purge|readable|reading|setlocking|writable|writing)',
    '__(over|under|u|wover|wunder|wu)flow',
    '__printf_fp|__w(overflow|underflow|uflow)|_flushlbf|printf_size(_info)?',
    'parse_printf_format|register_printf_[a-z]+',
  ],
  ['streams; the tables’ own functions', '_IO_(?!popen|proc_open)[a-z_0-9]+'],
  [
    'messages on standard error, a stream',
    'v?(err|warn)x?|error(_at_line)?|ps(iginfo|ignal)|fmtmsg|addseverity',
    '__assert[a-z_]*',
  ],
  ['streams', 'fgetgrent(_r)?|fget(pw|sg|sp)ent(_r)?|put(gr|pw|sg|sp)ent|sget(sg|sp)ent(_r)?'],
  // Time, signals, threads, processes.
  [
    'time',
    '(asc|c|gm|local|mk|strf|strp)?time(_r|gm|local)?|_?_?gmtime_r|tzset|timegm',
    'timelocal|dysize',
    'clock(_[a-z]+)?|__clock_gettime|(__)?nanosleep|u?sleep|u?alarm|[gs]etitimer',
    'timer_[a-z]+',
    '(get|set)timeofday|__gettimeofday|(__)?adjtimex?|ntp_[a-z]+|stime|f?times?',
    'timespec_get(res)?|difftime|getdate(_r)?',
  ],
  [
    'profiling',
    'vtimes|ftime|sprofil|profil|(_)?mcount',
    '__(monstartup|profile_frequency|fentry__|cyg_profile_[a-z_]+)|monstartup',
    'moncontrol|_mcleanup',
  ],
  [
    'signals',
    '(__)?sig(?!(action|nal|set)$)[a-z0-9_]+|gsignal|kill(pg)?|raise|tgkill|pause',
    '__xpg_sigpause',
  ],
  ['jumps', '_?(set|long|siglong)jmp|__(longjmp_chk|sigsetjmp)|(get|make|set|swap)context'],
  [
    'threads',
    '(__)?pthread_(?!setcanceltype$)[a-z_0-9]+|_pthread_[a-z_]+|(thrd|mtx|cnd|tss|call)_[a-z]+',
    '__call_tls_dtors',
  ],
  ['semaphores', 'sem_(init|destroy|wait|trywait|timedwait|clockwait|post|getvalue|close)'],
  ['scheduling', '(__)?sched_[a-z_]+|get(cpu|priority)|setpriority|nice|__sched_[a-z]+'],
  [
    'processes',
    '(__)?wait(pid|id|[34])?|posix_spawnattr_[a-z]+|on_exit|atexit|__cxa_[a-z_]+',
    'personality|prctl|ptrace',
  ],
  [
    'users and groups',
    '(__)?[gs]et(e|re|res|p|pp|s|t|fs)?[ugi]*id|(__)?[gs]etpg(rp|id)|__bsd_getpgrp',
    'getppid|setlogin|initgroups|group_member|[gs]etgroups|getgrouplist|__getgroups_chk',
    '[gs]etresuid|[gs]etresgid|cap[gs]et|getlogin(_r)?|__getlogin_r_chk|cuserid|getpw',
    'getpass',
  ],
  [
    'limits',
    '[gs]etrlimit(64)?|__getrlimit|prlimit(64)?|getrusage|ulimit|vlimit|getdtablesize',
    '_rpc_dtablesize',
  ],
  [
    'the environment',
    '(set|put|unset|secure_get|__secure_get|get)env|clearenv|getauxval|__getauxval',
  ],
  [
    'the machine',
    '(__)?sysconf|sysinfo|uname|sysctl|__sysctl|get_(av)?phys_pages|get_nprocs(_conf)?',
    '(__)?getpagesize|getloadavg',
  ],
  [
    'the program itself',
    'backtrace(_symbols)?|__backtrace(_symbols)?|__(stack_chk|fortify|chk)_fail',
    '__errno_location|__x86_[a-z_]+',
  ],
  [
    'the machine',
    '(__)?arch_prctl|modify_ldt|io(perm|pl)|pkey_(alloc|free|get|set)',
    'process_(vm_(read|write)v|mrelease)',
  ],
  [
    'libc’s own',
    '__libc_(start_main|freeres|init_first|sa_len|[a-z]*sigrt[a-z]*)',
    '__libc_(current_sigrt[a-z]+|allocate_rtsig|secure_getenv)',
    '__register_atfork|__cmsg_nxthdr',
  ],
  // Languages and tables of the system, which libc reads itself from local directories.
  [
    'messages of a language',
    '(__)?d?c?n?gettext|__dc?gettext|(bind)?textdomain|bind_textdomain_codeset',
    'cat(close|gets|open)',
  ],
  [
    'languages',
    'iconv(_close|_open)?|(__)?(new|dup|free|use)locale|setlocale|localeconv',
    '(__)?nl_langinfo(_l)?',
  ],
  [
    'tables of the system',
    '(set|end|get|put)(alias|fs|gr|host|mnt|net|netgr|proto|pw|rpc|serv|sg)ent(_r)?',
    '(set|end|get|put)(sp|tty|ut|utx)ent(_r)?',
    'get(gr|pw|sg|sp|alias|host|net|proto|rpc|serv|fs|tty|ut|utx)[a-z0-9]*(_r)?',
    'pututx?line|__(end|set|get)mntent(_r)?',
    'addmntent|hasmntopt|innetgr|(get|set|end)usershell|ttyslot|login|logout|logwtmp',
    'updwtmpx?|utmpx?name|getutmpx?',
    'lckpwdf|ulckpwdf|login_tty|ether_[a-z_]+|getnetname|[a-z0-9]+netname',
    'netname2[a-z]+',
    '__(nss|merge_grp|copy_grp|ivaliduser)[a-z_0-9]*|_nss_[a-z0-9_]+|getdomainname',
    'gethost(id|name)|set(domain|host)(name|id)|__get(domain|host)name_chk',
  ],
  // The network and other descriptors of the kernel's own, which a placeholder never is.
  [
    'sockets: ENOTSOCK of a placeholder, as of a file',
    '(__)?(accept4?|bind|connect|listen|shutdown|socket(pair)?|sockatmark)',
    '(__)?((get|set)sockopt|get(peer|sock)name)',
  ],
  [
    'sockets',
    '(__)?(recv(from)?|send(to|msg|mmsg)?)(_chk)?|(get|set)(ipv4)?sourcefilter',
    'bindresvport|rresvport(_af)?',
  ],
  [
    'the network',
    '(__)?(inet|inet6|ns|res|dn|h)_[a-z0-9_]+|(free|get)(addr|name)info(_a)?|gai_[a-z]+',
    '(get|free)ifaddrs|if_[a-z]+',
    'get(addr|name)info(_a)?|h(error|strerror)|__h_errno_location',
    'r(cmd|exec|userok)(_af)?|iruserok(_af)?|ruserpass|rtime',
  ],
  [
    'remote procedure calls of Sun',
    '(xdr|xdrmem|xdrrec|xdrstdio|svc|svcerr|svcfd|svcraw|svctcp|svcudp)_[a-z0-9_]+',
    '(svcunix|svcunixfd|clnt|clntraw|clnttcp|clntudp|clntunix|auth)_[a-z0-9_]+',
    '(authdes|authnone|authunix|pmap|key|xprt)_[a-z0-9_]+',
    '(callrpc|registerrpc|get_myaddress|getrpcport)',
    '((get|passwd2|x)[a-z]*(crypt|des|publickey|secretkey)|(cbc|ecb)_crypt)',
    '(des_setparity|_authenticate|_seterr_reply|__rpc_[a-z_]+|host2netname)',
    '(user2netname)',
  ],
  [
    'descriptors of other kinds',
    'eventfd(_read|_write)?|signalfd|timerfd_[a-z]+|epoll_create1?',
    'inotify_(init1?|rm_watch)|fanotify_init|pidfd_(open|send_signal)',
    '(__)?pipe2?|memfd_create|shmget|shmctl|shmdt|(msg|sem)(ctl|get|op|rcv|snd|timedop)',
  ],
  [
    'names of the kernel’s own, not paths',
    'mq_[a-z]+|__mq_open_2|shm_(open|unlink)|sem_(open|unlink)',
  ],
  [
    'terminals',
    '(open|fork)pty|get?pt|getpt|posix_openpt|grantpt|unlockpt|(__)?ptsname(_r)?(_chk)?',
    'ctermid|vhangup',
  ],
  [
    'terminals and streams of System V',
    'cf(get|set)(i|o)?speed|cfmakeraw|[gs]tty|isastream|fattach|fdetach|(get|put)p?msg',
  ],
  ['the system’s log', '(open|close)log|(__)?v?syslog(_chk)?|setlogmask|klogctl'],
  // The administrator's, refused to jobs.
  [
    'the administrator’s',
    '(u?mount2?|umount|swap(on|off)|pivot_root|acct|quotactl|reboot|nfsservctl)',
    '(uselib|bdflush|setns|unshare)',
    '(init|delete|create|query)_module|get_kernel_syms|fs(config|mount|open|pick)',
    '(move|open)_(mount|tree)|mount_setattr|open_tree|settimeofday',
  ],
  ['never done by Linux: ENOSYS', '(f|l)?chflags|revoke|setcontext|ustat'],
];

export const harmless = families.map(([why, ...patterns]) => ({
  pattern: new RegExp(`^(?:${patterns.join('|')})$`),
  why,
}));

/** Why `name` may be left alone, or undefined. */
export function whyHarmless(name) {
  return harmless.find(({ pattern }) => pattern.test(name))?.why;
}
