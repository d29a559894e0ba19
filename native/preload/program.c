/*
 * A file of ours as a program. The kernel cannot open it by its name, so a binary is copied into a
 * memfd and run from there. Of a script the first line is read, as the kernel would, and its
 * interpreter is run with the script's own name, which it opens under the adapter like any file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "raw.h"

/* "#!interpreter argument": as the kernel reads it, one argument at most, blanks around it cut. */
static int read_first_line(struct kg_program *program, const char *name) {
  char *line = program->line + 2;
  char *end = strchr(line, '\n');
  if (!end && strlen(program->line) == sizeof program->line - 1) return ENOEXEC;
  if (end)
    *end = 0;
  else
    end = line + strlen(line);
  while (end > line && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) *--end = 0;
  line += strspn(line, " \t");
  if (!*line) return ENOEXEC;
  program->extra = 0;
  program->words[program->extra++] = line;
  line += strcspn(line, " \t");
  if (*line) {
    *line++ = 0;
    line += strspn(line, " \t");
    program->words[program->extra++] = line;
  }
  strcpy(program->script, name);
  program->words[program->extra++] = program->script;
  return 0;
}

int kg_program_open(const struct kg_located *located, struct kg_program *program) {
  program->fd = kg_fetch(located, true);
  if (program->fd < 0) return errno;
  int64_t got = kg_raw_pread(program->fd, program->line, sizeof program->line - 1, 0);
  program->line[got > 0 ? got : 0] = 0;
  if (got < 2 || program->line[0] != '#' || program->line[1] != '!') return 0;
  kg_raw_close(program->fd);
  program->fd = -1;
  char name[KG_PATH_MAX + 512];
  kg_place_text(&located->place, name);
  return read_first_line(program, name);
}
