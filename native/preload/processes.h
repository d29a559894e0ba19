/*
 * What directory.c and the files of processes know of each other: whose memory this is, what has to
 * go into the environment of the next program, and how a file of ours becomes a program.
 */
#ifndef KANGAROO_PRELOAD_PROCESSES_H
#define KANGAROO_PRELOAD_PROCESSES_H

#include "preload.h"

/* directory.c: a borrower gives its entry back before its exec, takes it again when that fails. */
int kg_directory_leave(void);
void kg_directory_return(int index);
/* The kernel knows where we are. */
void kg_directory_forget(void);
void kg_directory_after_fork(void);
/* "/kangaroo/NAME/path"; `text` has room for KG_PATH_MAX + 512 bytes. */
void kg_place_text(const struct kg_place *place, char *text);

/* processes.c */
void kg_process_forked(void);
char *kg_decimal(char *at, unsigned long number);
/* What libc does when a checked buffer is too small. */
_Noreturn void kg_overflow(void);

/* Before an exec that is going to happen: what kg_finish does, but the process goes on. */
void kg_finish_for_exec(void);

/*
 * environment.c: the environment of a new program is made from the one it would get, in room that
 * the caller has: `pointers` of char *, and `bytes`. `directory` is where it is to start, or NULL.
 */
struct kg_environment_needs {
  size_t pointers;
  size_t bytes;
};
void kg_environment_start(char *const *environment);
struct kg_environment_needs kg_environment_needs(char *const *environment);
char **kg_environment_make(char *const *environment, const char *directory, char **pointers,
                           char *bytes);
/* Would a program that got `environment` as it is miss something? */
bool kg_environment_lacks(char *const *environment, const char *directory);

/* program.c: a file of ours as a program. */
struct kg_program {
  int fd;         /* a copy of it in a memfd, or -1: a script */
  size_t extra;   /* how many words of `words` go before the script's own arguments */
  char *words[3]; /* interpreter, its argument if it has one, the script */
  char line[256];
  char script[KG_PATH_MAX + 512];
};
/* 0 or an errno value; whoever gets an fd closes it. */
int kg_program_open(const struct kg_located *located, struct kg_program *program);
/* execve(2), wherever the program lies; `depth` counts interpreters. */
int kg_exec(int at, const char *path, char *const argv[], char *const envp[], int flags, int depth);

/* spawn-actions.c: the virtual directory that `actions` lead to: false, they say nothing of it. */
bool kg_actions_directory(const void *actions, const char **directory);

/* Their locks, around a fork. */
void kg_memory_fork(bool before);
void kg_stream_fork(bool before);

/* report.c, after the settings are read. */
void kg_report_start(void);
void kg_report_after_fork(void);

#endif
