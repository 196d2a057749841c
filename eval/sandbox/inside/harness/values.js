'use strict';
// Plain data between a program and its test, as JSON with tags, in frames of a four-byte length and text.
//
// A decoded value is made of exact builtin types, whoever sent it: no method, no prototype of the sender crosses. Values are
// undefined, null, booleans, numbers, bigints, strings, arrays, maps, sets, dates, and objects without a class.
// Decoding evaluates nothing: hostile text can at most be Malformed.
const fs = require('node:fs');

const CHANNEL = 3;
const MAX_BYTES = 1 << 23;
const MAX_DEPTH = 200;

class NotPlain extends Error {}
class Malformed extends Error {}
class Closed extends Error {}

function encode(value, depth = MAX_DEPTH) {
  if (depth === 0) throw new NotPlain(`nested more than ${MAX_DEPTH} deep`);
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (value === undefined) return ['undefined'];
  if (typeof value === 'bigint') return ['bigint', String(value)];
  if (typeof value === 'number') {
    return Number.isFinite(value) && !Object.is(value, -0) ? value : ['number', Object.is(value, -0) ? '-0' : String(value)];
  }
  const inner = (each) => encode(each, depth - 1);
  if (Array.isArray(value)) return ['array', Array.from(value, inner)];
  if (value instanceof Map) return ['map', Array.from(value, ([key, each]) => [inner(key), inner(each)])];
  if (value instanceof Set) return ['set', Array.from(value, inner)];
  if (value instanceof Date) return ['date', inner(value.getTime())];
  const prototype = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== null) {
    const kind = typeof value === 'object' ? value.constructor?.name ?? 'object' : typeof value;
    throw new NotPlain(`${kind} is not plain data`);
  }
  return ['object', Object.entries(value).map(([key, each]) => [key, inner(each)])];
}

function decode(item, depth = MAX_DEPTH) {
  if (depth === 0) throw new Malformed('nested too deeply');
  if (item === null || ['boolean', 'string', 'number'].includes(typeof item)) return item;
  if (!Array.isArray(item)) throw new Malformed('not a value');
  const [tag, content] = item;
  const inner = (each) => decode(each, depth - 1);
  const pairs = () => list(content).map((pair) => list(pair));
  switch (tag) {
    case 'undefined': return undefined;
    case 'number': return Number(text(content));
    case 'bigint':
      if (!/^-?[0-9]{1,100000}$/.test(text(content))) throw new Malformed('not an integer');
      return BigInt(content);
    case 'array': return list(content).map(inner);
    case 'map': return new Map(pairs().map(([key, each]) => [inner(key), inner(each)]));
    case 'set': return new Set(list(content).map(inner));
    case 'date': return new Date(Number(inner(content)));
    case 'object': return Object.fromEntries(pairs().map(([key, each]) => [text(key), inner(each)]));
    default: throw new Malformed('no such tag');
  }
}

function list(value) {
  if (!Array.isArray(value)) throw new Malformed('not a list');
  return value;
}

function text(value) {
  if (typeof value !== 'string') throw new Malformed('not a text');
  return value;
}

function send(kind, message) {
  const body = Buffer.from(kind + JSON.stringify(message));
  if (body.length > MAX_BYTES) throw new NotPlain(`more than ${MAX_BYTES} bytes`);
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeUInt32LE(body.length);
  body.copy(frame, 4);
  for (let sent = 0; sent < frame.length;) {
    try {
      sent += fs.writeSync(CHANNEL, frame, sent);
    } catch (error) {
      throw new Closed(error.message);
    }
  }
}

// Returns the kind of the next frame, one letter, and its message.
function receive() {
  const length = read(4).readUInt32LE();
  if (length < 1 || length > MAX_BYTES) throw new Malformed(`a frame of ${length} bytes`);
  const body = read(length).toString();
  try {
    return [body[0], JSON.parse(body.slice(1))];
  } catch {
    throw new Malformed('not JSON');
  }
}

function read(length) {
  const buffer = Buffer.allocUnsafe(length);
  for (let have = 0; have < length;) {
    let count = 0;
    try {
      count = fs.readSync(CHANNEL, buffer, have, length - have);
    } catch (error) {
      throw new Closed(error.message);
    }
    if (count === 0) throw new Closed('the end');
    have += count;
  }
  return buffer;
}

module.exports = { NotPlain, Malformed, Closed, encode, decode, send, receive };
