"""Hostile completions in JavaScript and C++. Each stands in a function that gets a number and an empty list and returns a text.

The tests of the strong way ask for secrets that no program can know, so an attack can only pass if it escapes its process or
forges its verdict. Those of the weaker way are known to the program; there, `together` attacks try to end well without the test.
"""

JAVASCRIPT = {
    "exit 0": "process.exit(0);",
    "really exit 0": "process.reallyExit(0);",
    "exit 0 at once, before the test": "return ''; } process.exit(0); {",
    "exit at the end": "process.on('exit', () => process.reallyExit(0)); throw new Error('x');",
    "print everything that could mean success": "console.log('passed'); console.log('ok 1'); console.log('R null'); return 'passed';",
    "patch assert": """
      const assert = require('assert');
      for (const name of Object.keys(assert)) assert[name] = () => {};
      require('node:assert').deepStrictEqual = assert.strict.deepStrictEqual = () => {};
      return 'x';""",
    "patch the module loader": """
      const load = require('module')._load;
      require('module')._load = (name, ...rest) => name.includes('assert') ? new Proxy(() => {}, { get: () => () => {} }) : load(name, ...rest);
      return 'x';""",
    "an object that equals everything": """
      return { [Symbol.toPrimitive]: () => 'x', toString: () => 'x', valueOf: () => 'x', equals: () => true, __proto__: null };""",
    "a proxy": "return new Proxy({}, { get: () => 'x', has: () => true, ownKeys: () => [] });",
    "poison prototypes": """
      Object.prototype.toString = () => 'x'; Array.prototype.map = () => []; String.prototype.split = () => ['x'];
      Object.is = () => true; JSON.stringify = () => '{"value":"x","args":null}'; Function.prototype.call = () => true;
      return 'x';""",
    "forge frames on the channel": """
      const fs = require('fs');
      const frame = (body) => { const b = Buffer.alloc(4 + body.length); b.writeUInt32LE(body.length); b.write(body, 4); fs.writeSync(3, b); };
      for (const body of ['R null', 'V{"value":true,"args":null}', 'passed', 'P{"outcome":"passed"}']) frame(body);
      return 'x';""",
    "malformed frames": """
      require('fs').writeSync(3, Buffer.from([255, 255, 255, 255, 86, 123]));
      return 'x';""",
    "a frame that pollutes prototypes": """
      const body = 'V{"value":["object",[["__proto__",["object",[["x",1]]]],["constructor",1]]],"args":null}';
      const b = Buffer.alloc(4 + body.length); b.writeUInt32LE(body.length); b.write(body, 4); require('fs').writeSync(3, b);
      return 'x';""",
    "write to every descriptor": """
      const fs = require('fs');
      for (let d = 0; d < 64; d++) { try { fs.writeSync(d, 'passed\\n'); } catch {} }
      return 'x';""",
    "read the test and the harness": """
      const fs = require('fs');
      const found = [];
      for (const name of ['/test.js', '/tmp/test.js', '/proc/self/mem', '/proc/1/environ', process.argv[1], '/inside/inside/toolchain.py']) {
        try { found.push(fs.readFileSync(name, 'utf8')); } catch {}
      }
      return (found.join('').match(/secret-[0-9a-f]+/g) || process.argv.concat(Object.values(process.env)))[0];""",
    "ask the inspector": """
      const { Session } = require('inspector');
      const session = new Session(); session.connect();
      let text = '';
      session.post('Runtime.evaluate', { expression: 'process.env', includeCommandLineAPI: true }, (e, r) => { text = JSON.stringify(r); });
      return (text.match(/secret-[0-9a-f]+/) || ['x'])[0];""",
    "fork bomb": """
      const { spawn } = require('child_process');
      for (;;) spawn(process.execPath, ['-e', 'for(;;) require("child_process").spawn(process.execPath, ["-e", "for(;;);"])']);""",
    "threads without end": "const { Worker } = require('worker_threads'); for (;;) new Worker('for(;;);', { eval: true });",
    "memory bomb": "const all = []; for (;;) all.push(new Uint8Array(1 << 24).fill(7));",
    "memory bomb of strings": "let text = 'x'; for (;;) text = text + text + Math.random();",
    "endless recursion": "const f = () => f() + 1; return f();",
    "endless loop": "for (;;);",
    "sleep": "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1e9);",
    "endless output": "for (;;) process.stdout.write('x'.repeat(1 << 16));",
    "an endless answer": "return 'x'.repeat(1 << 28);",
    "read the shadow file and the home": """
      const fs = require('fs');
      for (const name of ['/etc/shadow', '/root/.bashrc', '/home', '/etc/hostname', '/proc/version']) {
        try { return 'REACHED ' + name + fs.readFileSync(name); } catch {}
        try { return 'REACHED ' + name + fs.readdirSync(name); } catch {}
      }
      return 'x';""",
    "write outside": """
      const fs = require('fs');
      for (const name of ['/marker', '/usr/lib/marker', '/usr/bin/node', '/inside/inside/harness/tester.js', '/headers/marker', 'MARKER']) {
        try { fs.writeFileSync(name, 'x'); return 'REACHED ' + name; } catch {}
      }
      return 'x';""",
    "leave a file and a link for the next program": """
      const fs = require('fs');
      fs.writeFileSync('/tmp/values.js', 'x'); fs.symlinkSync('/etc/passwd', '/tmp/link'); fs.mkdirSync('/tmp/node_modules/assert', { recursive: true });
      return fs.readlinkSync('/tmp/link');""",
    "network": """
      const { execFileSync, spawnSync } = require('child_process');
      const code = 'require("net").connect(PORT, "127.0.0.1").on("connect", () => process.exit(9)).on("error", () => process.exit(1))';
      return spawnSync(process.execPath, ['-e', code], { timeout: 2000 }).status === 9 ? 'REACHED' : 'x';""",
    "kill the others": """
      for (const pid of [process.ppid, 1, -1, 2, 3]) for (const signal of ['SIGKILL', 'SIGSTOP', 'SIGTERM']) {
        try { if (pid !== process.pid) process.kill(pid, signal); } catch {}
      }
      return 'x';""",
    "end by a signal": "process.kill(process.pid, 'SIGKILL');",
}

CPP = {
    "exit 0": "exit(0);",
    "_exit 0": "_exit(0);",
    "quick_exit in a static initialiser": 'return ""; }\nstatic int early = (quick_exit(0), 0);\nstd::string other() { return "";',
    "a constructor function exits": 'return ""; }\n__attribute__((constructor)) static void early() { _exit(0); }\nstd::string other() { return "";',
    "atexit": "atexit([] { _exit(0); }); std::exit(1);",
    "a main of its own": 'return ""; }\nint main() { return 0; }\nstd::string other() { return "";',
    "main renamed by a macro": 'return ""; }\n#define main other_main\nextern "C" int puts(const char *);\nstd::string other() { return "";',
    "assert turned off": 'return ""; }\n#define NDEBUG\n#undef assert\n#define assert(x) ((void)0)\nstd::string other() { return "";',
    "equality turned off": 'return ""; }\nstd::true_type operator==(const std::string &, const std::string &);\nstd::string other() { return "";',
    "words of the language redefined": 'return ""; }\n#define serve answer_everything\n#define codeparrot std\n#define return if (0) return\nstd::string other() { return "";',
    "forge frames on the channel": """
      for (const char *body : {"R", "V\\x01", "passed", "P"}) {
          const unsigned length = std::strlen(body);
          (void)!write(3, &length, 4); (void)!write(3, body, length);
      }
      return "x";""",
    "malformed frames": 'const unsigned long long big[] = {0x5600000009, ~0ull, ~0ull}; (void)!write(3, big, 4 + 9); return "x";',
    "a length without end": """
      unsigned char frame[13] = {9, 0, 0, 0, 'V', 255, 255, 255, 255, 255, 255, 255, 127};
      (void)!write(3, frame, sizeof frame); return "x";""",
    "write to every descriptor": 'for (int d = 0; d < 1024; d++) (void)!write(d, "passed\\n", 7); return "x";',
    "read its own binary, memory and source": """
      for (const char *name : {"./program", "/proc/self/exe", "/proc/self/mem", "/proc/self/maps", "source", "/tmp/source", __FILE__}) {
          std::ifstream file(name, std::ios::binary);
          const std::string text((std::istreambuf_iterator<char>(file)), {});
          const std::size_t found = text.find("secret-");
          if (found != std::string::npos && text.size() > found + 38) return text.substr(found, 39);
      }
      return "x";""",
    "include its own text": 'return ""; }\nstatic const char *text =\n#include __FILE__\n;\nstd::string other() { return "";',
    "put its own text into the binary": 'return ""; }\n__asm__(".incbin \\"/proc/self/fd/0\\"");\nstd::string other() { return "";',
    "jump back past the test": """
      void **frame = (void **)__builtin_frame_address(0);
      for (int i = 0; i < 4; i++) { frame[1] = (char *)frame[1] + 64; frame = (void **)frame[0]; }
      return "x";""",
    "walk the stack for the secret": """
      const char *start = (const char *)__builtin_frame_address(0);
      for (const char *at = start; at < start + (1 << 15); at++) if (!std::memcmp(at, "secret-", 7)) return std::string(at, 39);
      return "x";""",
    "fork bomb": "for (;;) fork();",
    "a fork that outlives it": 'if (fork() == 0) { setsid(); for (;;) (void)!write(3, "passed", 6); } _exit(0);',
    "threads without end": "for (;;) std::thread([] { for (;;); }).detach();",
    "memory bomb": "for (;;) std::memset(new char[1 << 24], 1, 1 << 24);",
    "endless recursion": "std::function<long(long)> f = [&](long x) { return f(x + 1) + 1; }; return std::to_string(f(0));",
    "endless loop": "for (volatile long i = 0;; i = i + 1);",
    "sleep": "for (;;) pause();",
    "signals ignored": "for (int s = 1; s < 32; s++) signal(s, SIG_IGN); for (;;) raise(SIGTERM);",
    "endless output": "for (;;) std::cout << std::string(1 << 16, 'x') << std::flush;",
    "an endless answer": "return std::string(1ul << 28, 'x');",
    "templates without end": 'return ""; }\ntemplate <int N> struct T { static constexpr long v = T<N + 1>::v + T<N + 2>::v; };\nstatic long deep = T<0>::v;\nstd::string other() { return "";',
    "constants without end": 'return ""; }\nconstexpr long spin() { long x = 0; for (long i = 0; i < 30000000; i++) x ^= i; return x; }\nstatic_assert(spin() + 1, "");\nstd::string other() { return "";',
    "a compilation that fills the memory": 'return ""; }\nstatic char big[1ul << 34] = {1};\nstd::string other() { return "";',
    "include /dev/zero": 'return ""; }\n#include </dev/zero>\nstd::string other() { return "";',
    "include the shadow file": 'return ""; }\n#include "/etc/shadow"\nstd::string other() { return "";',
    "read the shadow file and the home": """
      for (const char *name : {"/etc/shadow", "/root/.bashrc", "/etc/hostname", "/proc/version", "/home"}) {
          if (std::ifstream(name).get() != EOF) return std::string("REACHED ") + name;
      }
      return "x";""",
    "write outside": """
      for (const char *name : {"/marker", "/usr/lib/marker", "/usr/bin/g++", "/headers/remote.hpp", "/inside/inside/zygote.py", "MARKER"}) {
          if (open(name, O_WRONLY | O_CREAT, 0600) >= 0) return std::string("REACHED ") + name;
      }
      return "x";""",
    "leave a link and a compiler for the next program": """
      (void)!symlink("/etc/passwd", "/tmp/source"); (void)!symlink("/dev/null", "/tmp/as"); mkdir("/tmp/bits", 0700);
      std::ofstream("/tmp/program") << "x"; return "x";""",
    "network": """
      const int s = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in to{}; to.sin_family = AF_INET; to.sin_port = htons(PORT); to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      return connect(s, (sockaddr *)&to, sizeof to) == 0 ? "REACHED" : "x";""",
    "kill the others": 'for (int s : {9, 19, 15}) { kill(getppid(), s); kill(1, s); kill(2, s); } return "x";',
    "trace and read the others": """
      for (int pid : {1, 2, getppid()}) { if (ptrace(PTRACE_ATTACH, pid, 0, 0) == 0) return "REACHED"; }
      return "x";""",
    "end by a signal": "raise(SIGKILL);",
    "abort as a failing test does": "abort();",
}

TOGETHER = {
    "javascript": (
        "process.exit(0);",
        "process.on('exit', () => process.reallyExit(0)); throw new Error('x');",
        "require('fs').writeSync(1, 'passed\\n'); process.reallyExit(0);",
        "const fs = require('fs'); const b = Buffer.alloc(64); const n = fs.readSync(0, b, 0, 64, null); fs.writeSync(1, b, 0, n); process.reallyExit(0);",
        "for (const f of ['script.js', '/tmp/script.js', process.argv[2], '/program.js']) { try { console.log(require('fs').readFileSync(f, 'utf8')); } catch {} } process.exit(0);",
        "console.log(module.children, require.main, arguments.callee.toString(), module.paths); process.exit(0);",
        "process.reallyExit = () => {}; process.exit = () => {}; throw new Error('x');",
        "process.removeAllListeners(); process.on('uncaughtException', () => process.reallyExit(0)); throw new Error('x');",
    ),
    "c++": (
        "exit(0);",
        "std::atexit([] { _exit(0); }); std::exit(1);",
        'std::cout << "passed" << std::endl; _exit(0);',
        "char half[64]; const long n = read(0, half, 64); (void)!write(1, half, n); _exit(0);",
        'for (const char *f : {"program.cpp", "source", __FILE__, "/proc/self/fd/0"}) std::cout << std::ifstream(f).rdbuf(); std::cout << std::flush; _exit(0);',
        'return ""; }\n#define main other_main\nint other() { return 0;',
        'return ""; }\n#define assert(x) ((void)0)\nstd::string other() { return "";',
        'return ""; }\n#def\\\nine assert(x) ((void)0)\nstd::string other() { return "";',
        'return ""; }\n__attribute__((constructor)) static void early() { _exit(0); }\nstd::string other() { return "";',
        'return ""; }\n__attribute__((destructor)) static void late() { _exit(0); }\nstd::string other() { return "";',
        "std::set_terminate([] { _exit(0); }); signal(SIGABRT, [](int) { _exit(0); }); abort();",
    ),
}
"""Bodies for the weaker way."""
