# One target, kangaroo.node, built by `node-gyp rebuild -C native` (npm run build:native).
# The file lies here and not in the root so that `npm install` does not start a build by itself.
{
  'targets': [
    {
      'target_name': 'kangaroo',
      # addon.cc includes every other source: one translation unit, napi.h is parsed once.
      # The rows of the board are the same code for programs and for the server.
      'sources': ['addon/addon.cc', 'core/known.c'],
      'include_dirs': ["<!(node -p \"require('node-addon-api').include_dir\")"],
      'defines': [
        'NAPI_VERSION=8',
        'NAPI_DISABLE_CPP_EXCEPTIONS',
        # 64-bit file offsets everywhere, also where a 32-bit libc would offer less.
        '_FILE_OFFSET_BITS=64',
        '_GNU_SOURCE',
      ],
      'cflags!': ['-O3', '-fno-omit-frame-pointer'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-fvisibility=hidden'],
      # node-addon-api is header-only and its own code is not ours to warn about.
      'cflags_cc': ['-std=c++17', '-fno-exceptions', '-fvisibility-inlines-hidden'],
      'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-fexceptions'],
      'conditions': [
        ['OS!="linux"', {'sources!': ['addon/addon.cc', 'core/known.c'], 'type': 'none'}],
      ],
    },
  ],
}
