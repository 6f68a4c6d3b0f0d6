// Runs a Node function: asks Lambda's Runtime API for events and answers them. No packages.
//
// _HANDLER is `module.export` or `folder/module.export`, found in LAMBDA_TASK_ROOT as .js, .mjs,
// .cjs or a folder with an index. Handlers may be async, return a value, or take a callback.
'use strict';

const net = require('net');
const path = require('path');
const fs = require('fs');
const { pathToFileURL } = require('url');

const API = '/2018-06-01/runtime/';
const address = process.env.AWS_LAMBDA_RUNTIME_API || '';
const HEAD_END = Buffer.from('\r\n\r\n');

// One connection to the host; http.request takes longer than most functions run. It keeps the process
// alive only while an answer is due, so that a function that waits for nothing is noticed.
let socket = null;
let received = Buffer.alloc(0);
let waiting = null; // { resolve, reject } of the call that is open

// The response at the front of `received`, or null: not whole yet.
function takeResponse() {
  const end = received.indexOf(HEAD_END);
  if (end < 0) return null;
  const [first, ...lines] = received.toString('latin1', 0, end).split('\r\n');
  const headers = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const from = end + HEAD_END.length;
  const length = Number(headers['content-length'] || 0);
  if (received.length < from + length) return null;
  const body = received.toString('utf8', from, from + length);
  received = received.subarray(from + length);
  return { status: Number(first.split(' ')[1]), headers, body };
}

function settle(what, value) {
  const call = waiting;
  waiting = null;
  if (socket) socket.unref();
  if (call) call[what](value);
}

function connect() {
  const colon = address.lastIndexOf(':');
  socket = net.connect({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)) });
  socket.setNoDelay(true);
  socket.on('data', (part) => {
    received = received.length ? Buffer.concat([received, part]) : part;
    const response = waiting && takeResponse();
    if (response) settle('resolve', response);
  });
  const gone = (error) => {
    socket = null;
    received = Buffer.alloc(0);
    settle('reject', error instanceof Error ? error
      : Object.assign(new Error('the Runtime API closed the connection'), { code: 'ECONNRESET' }));
  };
  socket.once('error', gone);
  socket.once('close', () => { if (socket) gone(); });
}

function call(method, where, body, headers = {}) {
  return new Promise((resolve, reject) => {
    if (!socket) connect();
    waiting = { resolve, reject };
    socket.ref();
    let head = `${method} ${API}${where} HTTP/1.1\r\nHost: ${address}\r\n`
      + `Content-Length: ${body ? body.length : 0}\r\n`;
    for (const name of Object.keys(headers)) head += `${name}: ${headers[name]}\r\n`;
    socket.cork(); // head and body leave together
    socket.write(`${head}\r\n`);
    if (body) socket.write(body);
    socket.uncork();
  });
}

function post(where, text, errorType) {
  const body = Buffer.from(text);
  const headers = { 'Content-Type': 'application/json' };
  if (errorType) {
    headers['Lambda-Runtime-Function-Error-Type'] = String(errorType).replace(/[^\x20-\x7e]/g, '?');
  }
  return call('POST', where, body, headers);
}

// An error as Lambda reports it; anything may be thrown.
function describe(error) {
  if (!(error instanceof Error)) {
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  }
  const trace = (error.stack || '').split('\n').filter((line) => !line.includes(__filename));
  return { errorType: error.name || 'Error', errorMessage: error.message, trace };
}

function named(name, message) {
  const error = new Error(message);
  error.name = name;
  return error;
}

// Writes to a pipe are synchronous on Linux: what was printed is there before the answer is.
function report(error) {
  console.error('[ERROR] %s: %s\n%s', error.errorType, error.errorMessage,
    error.trace.slice(1).join('\n'));
}

class Context {
  constructor(headers) {
    const env = process.env;
    this.awsRequestId = headers['lambda-runtime-aws-request-id'];
    this.invokedFunctionArn = headers['lambda-runtime-invoked-function-arn'];
    this.functionName = env.AWS_LAMBDA_FUNCTION_NAME;
    this.functionVersion = env.AWS_LAMBDA_FUNCTION_VERSION;
    this.memoryLimitInMB = env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE;
    this.logGroupName = env.AWS_LAMBDA_LOG_GROUP_NAME;
    this.logStreamName = env.AWS_LAMBDA_LOG_STREAM_NAME;
    this.callbackWaitsForEmptyEventLoop = true;
    Object.defineProperty(this, 'deadlineMs',
      { value: Number(headers['lambda-runtime-deadline-ms']), enumerable: false });
  }

  getRemainingTimeInMillis() {
    return Math.max(0, this.deadlineMs - Date.now());
  }
}

async function load(handler) {
  const folder = process.env.LAMBDA_TASK_ROOT || process.cwd();
  const slash = handler.lastIndexOf('/');
  const [name, ...members] = handler.slice(slash + 1).split('.');
  const base = path.join(folder, handler.slice(0, slash + 1), name);
  const file = ['.js', '.mjs', '.cjs', '/index.js', '/index.mjs']
    .map((end) => base + end).find((each) => fs.existsSync(each));
  if (!members.length) {
    throw named('Runtime.MalformedHandlerName', `Bad handler ${handler}: expected module.export`);
  }
  if (!file) {
    throw named('Runtime.ImportModuleError', `Cannot find module '${name}' in ${folder}`);
  }
  const found = await import(pathToFileURL(file).href);
  const inside = (from) => members.reduce((at, member) => (at ? at[member] : undefined), from);
  const result = inside(found) || inside(found.default);
  if (typeof result !== 'function') {
    throw named('Runtime.HandlerNotFound', `${handler} is undefined or not exported`);
  }
  return result;
}

// Whichever comes first: the promise, the callback, a value that was returned, or that nothing is
// left to wait for, which is an answer of null.
function run(handler, event, context) {
  let idle;
  return new Promise((resolve, reject) => {
    idle = () => resolve(null);
    process.once('beforeExit', idle);
    const callback = (error, result) => (error ? reject(error) : resolve(result));
    context.done = callback;
    context.succeed = resolve;
    context.fail = reject;
    const result = handler(event, context, callback);
    const isPromise = result && typeof result.then === 'function';
    if (isPromise) result.then(resolve, reject);
    else if (result !== undefined || handler.length < 3) resolve(result);
  }).finally(() => process.removeListener('beforeExit', idle));
}

async function serve(handler) {
  for (;;) {
    const next = await call('GET', 'invocation/next');
    if (next.status !== 200) throw new Error(`invocation/next answered ${next.status}`);
    const context = new Context(next.headers);
    process.env._X_AMZN_TRACE_ID = next.headers['lambda-runtime-trace-id'] || '';
    const where = `invocation/${context.awsRequestId}/`;
    let text;
    try {
      const result = await run(handler, JSON.parse(next.body), context);
      text = JSON.stringify(result === undefined ? null : result);
      if (text === undefined) text = 'null'; // a function or a symbol
    } catch (thrown) {
      const error = describe(thrown);
      report(error);
      await post(`${where}error`, JSON.stringify(error), error.errorType);
      continue;
    }
    const answer = await post(`${where}response`, text);
    if (answer.status === 413) console.error('[ERROR] the answer is too large: %d', text.length);
  }
}

async function main() {
  let handler;
  try {
    handler = await load(process.env._HANDLER || '');
  } catch (thrown) {
    const error = describe(thrown);
    report(error);
    await post('init/error', JSON.stringify(error), error.errorType);
    process.exit(1);
  }
  await serve(handler);
}

// What nobody awaits must not pass in silence: the process ends, and the host says why.
process.on('unhandledRejection', (error) => {
  console.error('[ERROR] Runtime.UnhandledPromiseRejection:', error);
  process.exit(128);
});
main().catch((error) => {
  if (error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET') process.exit(0);
  console.error(error);
  process.exit(1);
});
