/*
 * For programs under AddressSanitizer: aligned_alloc as glibc has it, for any size. cat and dd ask
 * for sizes that are no multiple of the alignment, which ISO C forbids and AddressSanitizer ends
 * them for.
 */
#include <stdlib.h>

void *aligned_alloc(size_t alignment, size_t size) {
  void *made;
  return posix_memalign(&made, alignment, size) == 0 ? made : NULL;
}
