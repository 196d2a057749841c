'use strict';
// The process of a JavaScript test: the function that it calls is a stub that asks the program's process. No line of the program
// is ever in it. Arguments: the function's name. The test comes over standard input. How it ended: see ENDS in toolchain.py.
const fs = require('node:fs');
const { AssertionError } = require('node:assert');
const { Module } = require('node:module');
const { Closed, Malformed, NotPlain, decode, encode, receive, send } = require('./values.js');

const FAILED = 10, ERROR = 11, GONE = 12;
const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

// What the program throws is thrown here. What ends the talk ends the test: one that expects an error must not catch it.
function call(...args) {
  let answer;
  try {
    answer = asked(args);
  } catch (error) {
    ended(error);
  }
  if (answer.thrown) throw answer.thrown;
  return answer.value;
}

function asked(args) {
  send('Q', encode(args));
  const [kind, message] = receive();
  if (kind === 'E') return { thrown: rebuilt(message) };
  if (kind === 'N') throw rebuilt(message);
  if (kind !== 'V' || message === null || typeof message !== 'object') throw new Malformed('not an answer');
  const value = decode(message.value);
  if (message.args !== null) {
    const changed = decode(message.args);
    if (!Array.isArray(changed)) throw new Malformed('not arguments');
    args.forEach((arg, index) => change(arg, changed[index]));
  }
  return { value };
}

function rebuilt(message) {
  const name = String(message?.name), kind = Object.hasOwn(ERRORS, name) ? ERRORS[name] : Error;
  const error = new kind(String(message?.message).slice(0, 1000));
  Object.defineProperty(error, 'name', { value: name.slice(0, 100) });
  return error;
}

// Gives an argument the content that the program gave its copy.
function change(arg, changed) {
  if (arg === null || typeof arg !== 'object' || changed === null || typeof changed !== 'object') return;
  if (Array.isArray(arg) && Array.isArray(changed)) {
    arg.length = 0;
    for (const each of changed) arg.push(each);
  } else if (arg instanceof Map && changed instanceof Map) {
    arg.clear();
    changed.forEach((value, key) => arg.set(key, value));
  } else if (arg instanceof Set && changed instanceof Set) {
    arg.clear();
    changed.forEach((value) => arg.add(value));
  } else if (!(arg instanceof Date)) {
    Object.keys(arg).forEach((key) => delete arg[key]);
    Object.entries(changed).forEach(([key, value]) => Object.defineProperty(arg, key, { value, configurable: true, enumerable: true, writable: true }));
  }
}

function ended(error) {
  const lines = String(error?.message ?? error).split('\n').filter((line) => line.trim());
  fs.writeSync(2, `${error?.name ?? 'Error'}: ${lines.slice(0, 3).join(' ')}\n`.slice(0, 2000));
  if (error instanceof Closed) process.exit(GONE);
  process.exit(error instanceof AssertionError ? FAILED : ERROR);
}

process.on('uncaughtException', ended);
Object.defineProperty(globalThis, process.argv[2], { value: call });
const test = new Module('/test.js');
test.filename = '/test.js';
test.paths = [];
test._compile(fs.readFileSync(0, 'utf8'), '/test.js');
