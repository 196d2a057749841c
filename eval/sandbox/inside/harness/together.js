'use strict';
// The weaker way, for JavaScript tests that need live objects: program and test are one script.
//
// What reports the end is bound before the script can replace anything. The script is a file, whose first line is one half of the
// number that the report must hold; the other half stays in standard input until the script has run to its end: what its last
// statement promises is kept, and nothing is left to do. A promise that nobody keeps ends the process without a report.
const fs = require('node:fs');
const { createRequire } = require('node:module');

const { readSync, writeSync } = fs;
const end = process.reallyExit.bind(process);
const buffer = Buffer.alloc(64);

const file = process.argv[2];
const content = fs.readFileSync(file, 'utf8');
const half = content.slice(0, content.indexOf('\n'));
fs.unlinkSync(file);

function report() {
  writeSync(1, half);
  const count = readSync(0, buffer, 0, 64, null);
  writeSync(1, buffer, 0, count);
  end(0);
}

const on = process.on.bind(process, 'beforeExit', report);
const script = { exports: {} };
// A direct eval, for its value: that of the last statement. The names of the parameters are those that a module sees.
const run = new Function('require', 'module', 'exports', '__filename', '__dirname', 'return eval(arguments[5])');
(async () => {
  await run.call(script.exports, createRequire('/program.js'), script, script.exports, '/program.js', '/', content.slice(half.length + 1));
  on();
})();
