'use strict';
// The weaker way, for JavaScript tests that need live objects: program and test are one script.
//
// What reports the end is bound before the script can replace anything. The script is a file, whose first line is one half of the
// number that the report must hold; the other half stays in standard input until the script has run to its end.
const fs = require('node:fs');
const { Module } = require('node:module');

const { readSync, writeSync } = fs;
const end = process.reallyExit.bind(process);
const buffer = Buffer.alloc(64);

const file = process.argv[2];
const content = fs.readFileSync(file, 'utf8');
const half = content.slice(0, content.indexOf('\n'));
fs.unlinkSync(file);

const script = new Module('/program.js');
script.filename = '/program.js';
script.paths = [];
script._compile(content.slice(half.length + 1), '/program.js');

writeSync(1, half);
const count = readSync(0, buffer, 0, 64, null);
writeSync(1, buffer, 0, count);
end(0);
