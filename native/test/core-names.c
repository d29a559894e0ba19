/*
 * Names as kg_locate sees them, row by row: what is ours, what a mount makes of it, what is no
 * good. Exit status 1 and a line for each row that is wrong.
 */
#include "../core/core.h"
#include "../core/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int failures;

/* What became of a path, in one line: "elsewhere", "here NAME PATH", "mapped PATH", "bad ENOENT".
 */
static const char *told(const char *path, const char *base) {
  static char text[9000];
  static struct kg_located located;
  kg_locate(path, base, &located);
  switch (located.where) {
  case KG_ELSEWHERE:
    return "elsewhere";
  case KG_HERE:
    snprintf(text, sizeof text, "here %s [%s]%s", located.place.name, located.place.path,
             located.slash ? "/" : "");
    return text;
  case KG_MAPPED:
    snprintf(text, sizeof text, "mapped %s", located.local);
    return text;
  case KG_TOP:
    return "top";
  default:
    return located.problem == ENOENT         ? "bad ENOENT"
           : located.problem == ENAMETOOLONG ? "bad ENAMETOOLONG"
                                             : "bad ?";
  }
}

static void expect(const char *path, const char *base, const char *wanted) {
  const char *got = told(path, base);
  if (strcmp(got, wanted) == 0) return;
  printf("%s (base %s): %s, wanted %s\n", path, base == NULL ? "-" : base, got, wanted);
  failures++;
}

static void plain(void) {
  expect("/kangaroo", NULL, "top");
  expect("/kangaroo/", NULL, "top");
  expect("/kangaroo/h", NULL, "here h []");
  expect("/kangaroo/h/", NULL, "here h []/");
  expect("/kangaroo/h/a", NULL, "here h [a]");
  expect("/kangaroo//h///a//b", NULL, "here h [a/b]");
  expect("/kangaroo/h/a/", NULL, "here h [a]/");
  expect("/kangaroo/h/a/.", NULL, "here h [a]/");
  expect("/kangaroo/h/./a/../b", NULL, "here h [b]");
  expect("/kangaroo/h/a/..", NULL, "here h []/");
  expect("/kangaroo/h/../g/x", NULL, "here g [x]");
  expect("/kangaroo/h/...", NULL, "here h [...]");
  expect("/kangaroo/h/..a", NULL, "here h [..a]");
  expect("//kangaroo/h/a", NULL, "here h [a]");
  expect("/./kangaroo/h/a", NULL, "here h [a]");
  expect("/tmp/../kangaroo/h/a", NULL, "here h [a]");
  expect("/../kangaroo/h/a", NULL, "here h [a]");
  expect("/kangaroo/..", NULL, "mapped /");
  expect("/kangaroo/../etc/passwd", NULL, "mapped /etc/passwd");
  expect("/kangaroo/h/../../etc", NULL, "mapped /etc");
  expect("/kangaroo/../etc/", NULL, "mapped /etc/");
  expect("/kangaroofoo/h", NULL, "elsewhere");
  expect("/kangaro", NULL, "elsewhere");
  expect("/etc/passwd", NULL, "elsewhere");
  expect("/etc/../usr", NULL, "elsewhere");
  expect("/home/kangaroo/h", NULL, "elsewhere");
  expect("kangaroo/h", NULL, "elsewhere");
  expect("", NULL, "elsewhere");
  expect(NULL, NULL, "elsewhere");
  expect("/", NULL, "elsewhere");
}

static void no_good(void) {
  static char text[9000];
  expect("/kangaroo/.git", NULL, "bad ENOENT");
  expect("/kangaroo/a_b/c", NULL, "bad ENOENT");
  expect("/kangaroo/-a", NULL, "bad ENOENT");
  expect("/kangaroo/a-b.c/d", NULL, "here a-b.c [d]");
  strcpy(text, "/kangaroo/h/");
  memset(text + 12, 'x', 255);
  text[12 + 255] = '\0';
  if (strncmp(told(text, NULL), "here", 4) != 0) expect(text, NULL, "here");
  memset(text + 12, 'x', 256);
  text[12 + 256] = '\0';
  expect(text, NULL, "bad ENAMETOOLONG");
  strcpy(text, "/kangaroo/h");
  for (int i = 0; i < 4500; i++) strcpy(text + 11 + i, i % 100 == 0 ? "/" : "y");
  expect(text, NULL, "bad ENAMETOOLONG");
}

static void relative(void) {
  expect("a", "/kangaroo/h/d", "here h [d/a]");
  expect("./a/", "/kangaroo/h/d", "here h [d/a]/");
  expect(".", "/kangaroo/h/d", "here h [d]");
  expect("..", "/kangaroo/h/d", "here h []");
  expect("../../g/x", "/kangaroo/h/d", "here g [x]");
  expect("../..", "/kangaroo/h/d", "top");
  expect("../../../etc", "/kangaroo/h/d", "mapped /etc");
  expect("a", "/kangaroo", "here a []");
  expect("", "/kangaroo/h", "bad ENOENT");
  expect("/etc", "/kangaroo/h", "elsewhere");
}

static void mounted(void) {
  kg_names_read_mounts(
      "/data=/kangaroo/h/runs/7:output.txt=/kangaroo/h/out.7:/data/local=/var/tmp/l:nonsense:"
      "/x//y/=/z/:/kangaroo/old=/kangaroo/new/sub");
  expect("/data", NULL, "here h [runs/7]");
  expect("/data/a/b", NULL, "here h [runs/7/a/b]");
  expect("/data/../data/a", NULL, "here h [runs/7/a]");
  expect("/database", NULL, "elsewhere");
  expect("/data/local", NULL, "mapped /var/tmp/l");
  expect("/data/local/q", NULL, "mapped /var/tmp/l/q");
  expect("/data/localx", NULL, "here h [runs/7/localx]");
  expect("output.txt", NULL, "here h [out.7]");
  expect("./output.txt", NULL, "here h [out.7]");
  expect("d/../output.txt", NULL, "here h [out.7]");
  expect("../output.txt", NULL, "elsewhere");
  expect("output.txt.bak", NULL, "elsewhere");
  expect("/x/y/w", NULL, "mapped /z/w");
  expect("/kangaroo/old/f", NULL, "here new [sub/f]");
  expect("/kangaroo/other/f", NULL, "here other [f]");
  expect("a", "/kangaroo/old", "here new [sub/a]");
  expect("/etc/passwd", NULL, "elsewhere");
  kg_names_read_mounts("/=/kangaroo/h/root");
  expect("/etc/passwd", NULL, "here h [root/etc/passwd]");
  expect("/", NULL, "here h [root]/");
  kg_names_read_mounts("");
  expect("/data/a", NULL, "elsewhere");
}

static void address(const char *path, const char *wanted) {
  struct kg_place place;
  char out[KG_ADDRESS_MAX];
  strcpy(place.name, "h");
  strcpy(place.path, path);
  kg_names_address(&place, out);
  if (strcmp(out, wanted) == 0) return;
  printf("address of %s: %s, wanted %s\n", path, out, wanted);
  failures++;
}

int main(void) {
  plain();
  no_good();
  relative();
  mounted();
  address("", "kangaroo://h/");
  address("a/b", "kangaroo://h/a/b");
  address("a/\xc3\xbc", "kangaroo://h/a/\xc3\xbc");
  address("a/b\xff/c", "kangaroo://h/a");
  address("\xff", "kangaroo://h/");
  /* As inodeNumber of src/server/board-layout.ts, which a test of the server compares too. */
  printf("ino %llu\n", (unsigned long long)kg_names_ino("h", "a/b", 3));
  return failures == 0 ? 0 : 1;
}
