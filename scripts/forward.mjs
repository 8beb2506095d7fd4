/**
 * Lets the demo reach a director's loopback API from outside its guest: accepts on one address and
 * passes bytes on to another. For the demo's own bridge only; a real API listens with TLS and tokens.
 * Usage: forward.mjs LISTEN-ADDRESS LISTEN-PORT TO-ADDRESS TO-PORT
 */
import { connect, createServer } from 'node:net';

const [address, port, toAddress, toPort] = process.argv.slice(2);

createServer((from) => {
  const to = connect(Number(toPort), toAddress);
  from.on('error', () => to.destroy());
  to.on('error', () => from.destroy());
  from.pipe(to).pipe(from);
}).listen(Number(port), address);
