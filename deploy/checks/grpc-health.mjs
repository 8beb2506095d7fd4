#!/usr/bin/env node
// A check of kind script: the health service of gRPC (grpc.health.v1.Health/Check) of a real server.
//   grpc-health.mjs [--tls] [--ca FILE] [--name NAME] HOST PORT [SERVICE]
// Exit code 0: SERVING; 1: anything else. Without SERVICE the server as a whole is asked.
//   check: { script: { command: "/opt/leasehold/deploy/checks/grpc-health.mjs {address} {port} shop.v1.Cart" } }
// Needs Node only. The timeout of the check ends it.
import { readFileSync } from 'node:fs';
import { connect, constants } from 'node:http2';
import { isIP } from 'node:net';

const STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
// google.golang.org/grpc/codes: those that people meet.
const CODES = {
  1: 'cancelled', 2: 'unknown', 4: 'deadline exceeded', 5: 'service unknown', 7: 'permission denied',
  12: 'the server has no health service', 13: 'internal error', 14: 'unavailable', 16: 'not authenticated',
};

function usage() {
  end(1, 'usage: grpc-health.mjs [--tls] [--ca FILE] [--name NAME] HOST PORT [SERVICE]');
}

function readArguments(words) {
  const said = { tls: false, ca: null, name: null };
  const rest = [];
  for (let i = 0; i < words.length; i++) {
    if (words[i] === '--tls') said.tls = true;
    else if (words[i] === '--ca') said.ca = words[++i] ?? usage();
    else if (words[i] === '--name') said.name = words[++i] ?? usage();
    else rest.push(words[i]);
  }
  if (rest.length < 2 || rest.length > 3) usage();
  const [host, port, service = ''] = rest;
  return { ...said, tls: said.tls || said.ca !== null, host, port, service };
}

/** HealthCheckRequest { string service = 1; } behind the five bytes of gRPC's framing. */
function encodeRequest(service) {
  const name = Buffer.from(service);
  if (name.length > 127) usage();
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** HealthCheckResponse { ServingStatus status = 1; }: its number, 0 where it is left out. */
function decodeStatus(bytes) {
  const message = bytes.subarray(5, 5 + (bytes.length < 5 ? 0 : bytes.readUInt32BE(1)));
  return message[0] === 0x08 ? (message[1] ?? 0) : 0;
}

const { host, port, service, tls, ca, name } = readArguments(process.argv.slice(2));

function end(code, text) {
  process.stdout.write(`${text}\n`);
  process.exit(code);
}

function readAuthorities() {
  try {
    return readFileSync(ca);
  } catch (error) {
    return end(1, `cannot read ${ca}: ${error.message}`);
  }
}

const bare = isIP(host) === 6 ? `[${host}]` : host;
const session = connect(`${tls ? 'https' : 'http'}://${bare}:${port}`, {
  ...(ca === null ? {} : { ca: readAuthorities() }),
  ...(name === null ? {} : { servername: name }),
});
// Whichever of both is told first: the stream's error has the session's as its cause.
const fail = (error) => end(1, `no gRPC answer: ${error.cause?.message ?? error.message}`);
session.on('error', fail);
const stream = session.request({
  [constants.HTTP2_HEADER_METHOD]: 'POST',
  [constants.HTTP2_HEADER_PATH]: '/grpc.health.v1.Health/Check',
  'content-type': 'application/grpc',
  te: 'trailers',
});
const parts = [];
let trailers = {};
let code = 0;
stream.on('response', (headers) => {
  code = headers[constants.HTTP2_HEADER_STATUS];
  if (headers['grpc-status'] !== undefined) trailers = headers;
});
stream.on('data', (part) => parts.push(part));
stream.on('trailers', (headers) => {
  trailers = headers;
});
stream.on('error', fail);
stream.on('close', () => {
  if (code === 0) end(1, 'no gRPC answer: the connection was closed');
  if (code !== 200) end(1, `HTTP status ${code}, not gRPC`);
  const status = Number(trailers['grpc-status'] ?? 2);
  if (status !== 0)
    end(1, `gRPC code ${status}: ${CODES[status] ?? trailers['grpc-message'] ?? 'failed'}`);
  const serving = decodeStatus(Buffer.concat(parts));
  end(serving === 1 ? 0 : 1, STATUSES[serving] ?? `status ${serving}`);
});
stream.end(encodeRequest(service));
