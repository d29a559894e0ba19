/*
 * The table from the codes of src/base/errors.ts to errno: see failure.h. A code that is not in it
 * is EIO.
 */
#include "failure.h"

#include <errno.h>
#include <string.h>

static const struct {
  const char *code;
  int problem;
  bool again;
} codes[] = {
    {"NOT_FOUND", ENOENT, false},      {"EXISTS", EEXIST, false},
    {"IS_DIRECTORY", EISDIR, false},   {"NOT_DIRECTORY", ENOTDIR, false},
    {"NOT_EMPTY", ENOTEMPTY, false},   {"DENIED", EACCES, false},
    {"NOT_SUPPORTED", ENOTSUP, false}, {"TOO_LARGE", EFBIG, false},
    {"USAGE", EINVAL, false},          {"NO_ROUTE", EHOSTUNREACH, false},
    {"LOOP", EHOSTUNREACH, false},     {"NOT_YET", ETIMEDOUT, true},
    {"UNREACHABLE", ETIMEDOUT, true},  {"BUSY", ETIMEDOUT, true},
    {"DISCONNECTED", ETIMEDOUT, true},
};

/* What a destination may refuse with. */
static const struct {
  const char *name;
  int problem;
} refusals[] = {
    {"EACCES", EACCES}, {"EPERM", EPERM},         {"ENOENT", ENOENT},
    {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},       {"EROFS", EROFS},
    {"EISDIR", EISDIR}, {"ENOTDIR", ENOTDIR},     {"ENAMETOOLONG", ENAMETOOLONG},
    {"EFBIG", EFBIG},   {"EEXIST", EEXIST},       {"ENOTEMPTY", ENOTEMPTY},
    {"ELOOP", ELOOP},   {"EXDEV", EXDEV},         {"EBUSY", EBUSY},
    {"EIO", EIO},       {"EMLINK", EMLINK},       {"ETXTBSY", ETXTBSY},
    {"EINVAL", EINVAL}, {"ESTALE", ESTALE},       {"EMFILE", EMFILE},
    {"ENFILE", ENFILE}, {"EOVERFLOW", EOVERFLOW}, {"ENODEV", ENODEV},
    {"ENXIO", ENXIO},   {"ENOTSUP", ENOTSUP},     {"EOPNOTSUPP", EOPNOTSUPP},
};

static bool is_word(char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/* The first word of the message that is the name of an errno. */
static int refusal_in(const char *message, size_t bytes) {
  for (size_t begin = 0; begin < bytes;) {
    size_t end = begin;
    while (end < bytes && is_word(message[end])) end++;
    size_t length = end - begin;
    bool alone = (begin == 0 || message[begin - 1] == ' ' || message[begin - 1] == '(');
    for (size_t i = 0; alone && length > 2 && i < sizeof refusals / sizeof refusals[0]; i++)
      if (strlen(refusals[i].name) == length &&
          memcmp(refusals[i].name, message + begin, length) == 0)
        return refusals[i].problem;
    begin = end + 1;
  }
  return EIO;
}

int kg_failure(const char *code, size_t code_bytes, const char *message, size_t message_bytes,
               bool *again) {
  *again = false;
  if (code_bytes == 4 && memcmp(code, "HELD", 4) == 0) return refusal_in(message, message_bytes);
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
    if (strlen(codes[i].code) != code_bytes || memcmp(codes[i].code, code, code_bytes) != 0)
      continue;
    *again = codes[i].again;
    return codes[i].problem;
  }
  return EIO;
}
