/* Wide streams. */
#include "check.h"
#include <locale.h>
#include <wchar.h>

static void test(void) {
  wchar_t line[32];
  CHECK(setlocale(LC_ALL, "C.UTF-8") != NULL);
  FILE *stream = fopen(in("f"), "w");
  CHECK(stream != NULL && fwprintf(stream, L"gr\u00fc\u00df %d\n", 7) == 7 &&
        fputwc(L'\u20ac', stream) != WEOF);
  CHECK(fclose(stream) == 0);
  HOLDS("f", "gr\xc3\xbc\xc3\x9f 7\n\xe2\x82\xac");
  CHECK((stream = fopen(in("f"), "r")) != NULL && fgetws(line, 32, stream) != NULL);
  CHECK(wcscmp(line, L"gr\u00fc\u00df 7\n") == 0 && fgetwc(stream) == L'\u20ac' &&
        fgetwc(stream) == WEOF);
  CHECK(fclose(stream) == 0);
  CHECK((stream = fopen(in("f"), "r,ccs=UTF-8")) != NULL && fgetwc(stream) == L'g' &&
        fclose(stream) == 0);
}
