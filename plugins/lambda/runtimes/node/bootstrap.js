// Runs a Node function: asks Lambda's Runtime API for events and answers them. No packages.
//
// _HANDLER is `module.export` or `folder/module.export`, found in LAMBDA_TASK_ROOT as .js, .mjs,
// .cjs or a folder with an index. Handlers may be async, return a value, or take a callback.
'use strict';

const http = require('http');
const path = require('path');
const fs = require('fs');
const { pathToFileURL } = require('url');

const API = '/2018-06-01/runtime/';
const [host, port] = (process.env.AWS_LAMBDA_RUNTIME_API || '').split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, where, body, headers) {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host, port, agent, method, path: API + where, headers },
      (response) => {
        const parts = [];
        response.on('data', (part) => parts.push(part));
        response.on('error', reject);
        response.on('end', () => resolve({
          status: response.statusCode,
          headers: response.headers,
          body: Buffer.concat(parts).toString('utf8'),
        }));
      });
    request.setTimeout(0);
    request.on('error', reject);
    request.end(body);
  });
}

function post(where, text, errorType) {
  const body = Buffer.from(text);
  const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length };
  if (errorType) headers['Lambda-Runtime-Function-Error-Type'] = errorType;
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
