'use strict';
// The process of one JavaScript program under test: it defines the function, then answers the test's calls.
//
// Nothing here decides anything: the test, in another process, compares the answers. Arguments: the function's name. The
// program comes over standard input.
const fs = require('node:fs');
const { Module } = require('node:module');
const { Closed, NotPlain, decode, encode, receive, send } = require('./values.js');

function raised(error) {
  const named = error instanceof Error;
  return { name: named ? String(error.name) : 'Error', message: named ? String(error.message) : `threw ${typeof error}` };
}

function loaded(source, entry) {
  const program = new Module('/program.js');
  program.filename = '/program.js';
  program.paths = [];
  program._compile(`${source}\n;module.entry = typeof ${entry} === 'undefined' ? undefined : ${entry};\n`, '/program.js');
  if (typeof program.entry !== 'function') throw new ReferenceError(`${entry} is not a function that was defined`);
  return program.entry;
}

function main(entry) {
  let call;
  try {
    call = loaded(fs.readFileSync(0, 'utf8'), entry);
  } catch (error) {
    send('E', raised(error));
    return;
  }
  send('R', null);
  for (;;) {
    const given = receive()[1];
    const args = decode(given);
    let answer;
    try {
      const value = encode(call(...args));
      const after = encode(args);
      // What the program changes in its arguments changes in the test as well.
      answer = ['V', { value, args: JSON.stringify(after) === JSON.stringify(given) ? null : after }];
    } catch (error) {
      answer = [error instanceof NotPlain ? 'N' : 'E', raised(error)];
    }
    send(...answer);
  }
}

try {
  main(process.argv[2]);
} catch (error) {
  if (!(error instanceof Closed)) throw error;
}
process.exit(0);
