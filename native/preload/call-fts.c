/*
 * fts(3), when a root is ours: a walker of our own, because libc's has hidden ways to every name.
 * (Those of coreutils and findutils are their own and are served.)
 *
 * It walks as if FTS_NOCHDIR were given, also where that is not: fts_accpath is then the whole
 * path, which leads to the file from where the walk began. An entry, its facts and its path are one
 * piece of memory. A tree of ours has a mark that libc's own cannot have.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "preload.h"

typedef int (*order)(const FTSENT **a, const FTSENT **b);

REAL(FTS *, fts_open, (char *const *roots, int options, order order));
REAL(FTSENT *, fts_read, (FTS * tree));
REAL(FTSENT *, fts_children, (FTS * tree, int what));
REAL(int, fts_close, (FTS * tree));

_Static_assert(sizeof(FTSENT) == sizeof(FTSENT64) && sizeof(FTS) == sizeof(FTS64), "one shape");

/* Among fts_options, above what libc knows; and what was asked of an entry: nothing. */
enum { OURS = 0x40000000, NO_INSTRUCTION = 3 };

static bool is_mine(const FTS *tree) { return tree->fts_options & OURS; }

static FTSENT *make_entry(FTSENT *parent, const char *name) {
  size_t name_bytes = strlen(name), above = parent->fts_level < 0 ? 0 : parent->fts_pathlen;
  size_t slash = above > 0 && parent->fts_path[above - 1] != '/', path = above + slash + name_bytes;
  if (path > UINT16_MAX) {
    errno = ENAMETOOLONG;
    return NULL;
  }
  size_t head = (sizeof(FTSENT) + name_bytes + 1 + 15) & ~(size_t)15;
  FTSENT *made = calloc(1, head + sizeof(struct stat) + path + 1);
  if (!made) return NULL;
  memcpy(made->fts_name, name, name_bytes + 1);
  made->fts_namelen = (unsigned short)name_bytes;
  made->fts_statp = (struct stat *)((char *)made + head);
  made->fts_path = made->fts_accpath = (char *)(made->fts_statp + 1);
  if (above > 0) memcpy(made->fts_path, parent->fts_path, above);
  if (slash) made->fts_path[above] = '/';
  memcpy(made->fts_path + above + slash, name, name_bytes);
  made->fts_pathlen = (unsigned short)path;
  made->fts_parent = parent;
  made->fts_level = (short)(parent->fts_level + 1);
  made->fts_instr = NO_INSTRUCTION;
  return made;
}

static void drop(FTSENT *list) {
  while (list) {
    FTSENT *next = list->fts_link;
    free(list);
    list = next;
  }
}

static bool is_dots(const char *name) {
  return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static unsigned short kind_of_directory(FTSENT *entry) {
  if (entry->fts_level > 0 && is_dots(entry->fts_name)) return FTS_DOT;
  for (FTSENT *above = entry->fts_parent; above && above->fts_level >= 0; above = above->fts_parent)
    if (above->fts_ino == entry->fts_ino && above->fts_dev == entry->fts_dev) {
      entry->fts_cycle = above;
      return FTS_DC;
    }
  return FTS_D;
}

/* Asks for the facts; what they make of the entry. */
static unsigned short look(const FTS *tree, FTSENT *entry, bool follow) {
  struct stat *facts = entry->fts_statp;
  follow |= (tree->fts_options & FTS_LOGICAL) != 0;
  int result = follow ? stat(entry->fts_path, facts) : lstat(entry->fts_path, facts);
  if (result < 0) {
    int problem = errno;
    if (follow && lstat(entry->fts_path, facts) == 0) return FTS_SLNONE;
    entry->fts_errno = problem;
    memset(facts, 0, sizeof *facts);
    return FTS_NS;
  }
  entry->fts_dev = facts->st_dev;
  entry->fts_ino = facts->st_ino;
  entry->fts_nlink = facts->st_nlink;
  if (S_ISDIR(facts->st_mode)) return kind_of_directory(entry);
  if (S_ISLNK(facts->st_mode)) return FTS_SL;
  return S_ISREG(facts->st_mode) ? FTS_F : FTS_DEFAULT;
}

/* In the order that the program wants; as it is when there is no memory. */
static FTSENT *sorted(const FTS *tree, FTSENT *list, size_t count) {
  FTSENT **array = tree->fts_compar && count > 1 ? malloc(count * sizeof *array) : NULL;
  if (!array) return list;
  for (size_t i = 0; i < count; i++, list = list->fts_link) array[i] = list;
  qsort(array, count, sizeof *array, tree->fts_compar);
  for (size_t i = 0; i < count; i++) array[i]->fts_link = i + 1 < count ? array[i + 1] : NULL;
  list = array[0];
  free(array);
  return list;
}

static void fill(FTS *tree, FTSENT *entry, int type, bool names_only) {
  bool known = (tree->fts_options & FTS_NOSTAT) != 0 && type == DT_REG;
  entry->fts_info = names_only || known ? FTS_NSOK : look(tree, entry, false);
}

/* What is in a directory; NULL: nothing, or tree->fts_cur says what went wrong. */
static FTSENT *build(FTS *tree, FTSENT *directory, bool names_only) {
  FTSENT *first = NULL, **last = &first;
  size_t count = 0;
  DIR *stream = opendir(directory->fts_path);
  struct dirent *entry = NULL;
  errno = stream ? 0 : errno;
  while (stream && (entry = readdir(stream)) != NULL) {
    if (is_dots(entry->d_name) && !(tree->fts_options & FTS_SEEDOT)) continue;
    FTSENT *made = make_entry(directory, entry->d_name);
    if (!made) break;
    fill(tree, made, entry->d_type, names_only);
    *last = made;
    last = &made->fts_link;
    count++;
    errno = 0;
  }
  int problem = errno;
  if (stream) closedir(stream);
  if (problem) {
    drop(first);
    directory->fts_errno = problem;
    directory->fts_info = FTS_DNR;
    if (entry) tree->fts_options |= FTS_STOP;
    errno = problem;
    return NULL;
  }
  return sorted(tree, first, count);
}

/* The name of a root is its last component, once the walk has come to it. */
static void enter_root(FTS *tree, FTSENT *root) {
  char *slash = strrchr(root->fts_name, '/');
  tree->fts_dev = root->fts_dev;
  if (!slash || (slash == root->fts_name && !slash[1])) return;
  root->fts_namelen = (unsigned short)strlen(slash + 1);
  memmove(root->fts_name, slash + 1, root->fts_namelen + 1u);
}

/* The entry behind this one, which is done with; NULL at the end. */
static FTSENT *leave(FTS *tree, FTSENT *entry) {
  for (;;) {
    FTSENT *next = entry->fts_link, *parent = entry->fts_parent;
    free(entry);
    tree->fts_cur = next ? next : parent;
    if (!next) break;
    entry = next;
    if (next->fts_level == FTS_ROOTLEVEL) enter_root(tree, next);
    int wish = next->fts_instr;
    next->fts_instr = NO_INSTRUCTION;
    if (wish == FTS_SKIP) continue;
    if (wish == FTS_FOLLOW) next->fts_info = look(tree, next, true);
    return next;
  }
  FTSENT *parent = tree->fts_cur;
  if (parent->fts_level == FTS_ROOTPARENTLEVEL) {
    free(parent);
    tree->fts_cur = NULL;
    errno = 0;
    return NULL;
  }
  parent->fts_info = parent->fts_errno ? FTS_ERR : FTS_DP;
  return parent;
}

static FTSENT *go_down(FTS *tree, FTSENT *directory) {
  if (tree->fts_child && tree->fts_options & FTS_NAMEONLY) {
    drop(tree->fts_child);
    tree->fts_child = NULL;
  }
  tree->fts_options &= ~FTS_NAMEONLY;
  FTSENT *first = tree->fts_child ? tree->fts_child : build(tree, directory, false);
  tree->fts_child = NULL;
  if (tree->fts_options & FTS_STOP) return NULL;
  if (!first) {
    if (directory->fts_info == FTS_D) directory->fts_info = FTS_DP;
    return directory;
  }
  tree->fts_cur = first;
  return first;
}

static FTSENT *step(FTS *tree) {
  FTSENT *entry = tree->fts_cur;
  if (!entry || tree->fts_options & FTS_STOP) return NULL;
  int wish = entry->fts_instr;
  entry->fts_instr = NO_INSTRUCTION;
  bool is_link = entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE;
  if (wish == FTS_AGAIN || (wish == FTS_FOLLOW && is_link)) {
    entry->fts_info = look(tree, entry, wish == FTS_FOLLOW);
    return entry;
  }
  if (entry->fts_info != FTS_D) return leave(tree, entry);
  bool is_other = tree->fts_options & FTS_XDEV && entry->fts_dev != tree->fts_dev;
  if (wish != FTS_SKIP && !is_other) return go_down(tree, entry);
  drop(tree->fts_child);
  tree->fts_child = NULL;
  entry->fts_info = FTS_DP;
  return entry;
}

static int close_tree(FTS *tree) {
  drop(tree->fts_child);
  for (FTSENT *entry = tree->fts_cur; entry;) {
    FTSENT *parent = entry->fts_parent;
    drop(entry);
    entry = parent;
  }
  free(tree);
  return 0;
}

/* The walk begins at an entry before the first root, whose parent is also that of the roots. */
__attribute__((noinline)) static FTS *open_tree(char *const *roots, int options, order order) {
  FTS *tree = calloc(1, sizeof *tree);
  FTSENT *top = calloc(1, sizeof *top + 1), *before = calloc(1, sizeof *before + 1);
  if (!tree || !top || !before) {
    free(tree), free(top), free(before);
    errno = ENOMEM;
    return NULL;
  }
  top->fts_level = before->fts_level = FTS_ROOTPARENTLEVEL;
  before->fts_parent = top;
  before->fts_info = FTS_INIT;
  before->fts_instr = NO_INSTRUCTION;
  tree->fts_cur = before;
  tree->fts_rfd = -1;
  tree->fts_options = options | FTS_NOCHDIR | OURS;
  tree->fts_compar = (int (*)(const void *, const void *))order;
  FTSENT **last = &before->fts_link;
  size_t count = 0;
  for (; roots[count]; count++) {
    errno = ENOENT;
    FTSENT *root = roots[count][0] ? make_entry(top, roots[count]) : NULL;
    if (!root) {
      int problem = errno;
      close_tree(tree);
      errno = problem;
      return NULL;
    }
    root->fts_info = look(tree, root, options & FTS_COMFOLLOW);
    *last = root;
    last = &root->fts_link;
  }
  before->fts_link = sorted(tree, before->fts_link, count);
  return tree;
}

CAUGHT FTS *fts_open(char *const *roots, int options, order order) {
  bool mine = false;
  for (char *const *root = roots; *root && !mine; root++)
    mine = !kg_plainly_local(AT_FDCWD, *root) && kg_is_ours_at(AT_FDCWD, *root);
  if (!mine || options & ~FTS_OPTIONMASK) return CALL(fts_open)(roots, options, order);
  return open_tree(roots, options, order);
}
ALIAS(fts_open, fts64_open);

CAUGHT FTSENT *fts_read(FTS *tree) { return is_mine(tree) ? step(tree) : CALL(fts_read)(tree); }
ALIAS(fts_read, fts64_read);

CAUGHT FTSENT *fts_children(FTS *tree, int what) {
  if (!is_mine(tree)) return CALL(fts_children)(tree, what);
  errno = what != 0 && what != FTS_NAMEONLY ? EINVAL : 0;
  FTSENT *entry = tree->fts_cur;
  if (errno || !entry || tree->fts_options & FTS_STOP) return NULL;
  if (entry->fts_info == FTS_INIT) return entry->fts_link;
  if (entry->fts_info != FTS_D) return NULL;
  drop(tree->fts_child);
  tree->fts_options &= ~FTS_NAMEONLY;
  tree->fts_options |= what;
  return tree->fts_child = build(tree, entry, what == FTS_NAMEONLY);
}
ALIAS(fts_children, fts64_children);

CAUGHT int fts_close(FTS *tree) { return is_mine(tree) ? close_tree(tree) : CALL(fts_close)(tree); }
ALIAS(fts_close, fts64_close);
