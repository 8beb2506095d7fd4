/** The rack itself: a guest with its own kernel, on the lab's bridge. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootGuest, type Guest } from '../support/guest.ts';
import { createNetwork, type Network } from '../support/network.ts';
import { PATIENCE_MS, waitFor } from '../support/processes.ts';

/** Some 700 frames. */
const LONG_BYTES = 1_000_000;
/** It takes a tenth of a second, and half a minute where the rest of each piece is lost. */
const LONG_LIMIT_S = 10;
const PORT = 9000;

describe('a guest', () => {
  let network: Network;
  let guest: Guest;

  beforeAll(async () => {
    network = await createNetwork({ name: 'guest' });
    await network.addHost('a', ['10.90.0.1/24', 'fd90::1/64']);
    guest = await bootGuest({
      name: 'g1',
      network,
      addresses: ['10.90.0.11/24', 'fd90::11/64'],
    });
  });

  afterAll(() => network.close());

  const answers = async (address: string): Promise<boolean> =>
    (await network.exec('a', ['ping', '-c', '1', '-W', '0.5', address])).code === 0;

  it('answers over IPv4 and IPv6', async () => {
    for (const address of ['10.90.0.11', 'fd90::11'])
      await waitFor(`${address} answers`, () => answers(address), { timeoutMs: PATIENCE_MS });
  });

  it('receives a long answer as quickly as a short one', async () => {
    const server = `require('net').createServer((one) => one.end(Buffer.alloc(${LONG_BYTES}))).listen(${PORT})`;
    network.spawn('a', 'server', [process.execPath, '-e', server]);
    const listens = async (): Promise<boolean> =>
      (await network.execOk('a', ['ss', '-Hltn', `sport = :${PORT}`])) !== '';
    await waitFor('the server listens', listens, { timeoutMs: PATIENCE_MS });
    for (const address of ['10.90.0.1', 'fd90::1']) {
      const read = `exec 3<>/dev/tcp/${address}/${PORT} && timeout ${LONG_LIMIT_S} cat <&3 | wc -c`;
      expect(Number(await guest.execOk(read)), address).toBe(LONG_BYTES);
    }
  });

  it('has IPVS in a kernel of its own', async () => {
    await guest.execOk('ipvsadm -A -t 10.90.0.100:80 -s rr');
    expect(await guest.execOk('ipvsadm -Ln')).toContain('10.90.0.100:80 rr');
  });

  it('gives code, output and errors of a command', async () => {
    const done = await guest.exec('echo out; echo bad >&2; exit 3');
    expect(done).toEqual({ code: 3, stdout: 'out\n', stderr: 'bad\n' });
    expect(await guest.execOk(['echo', `it's "quoted"`])).toBe(`it's "quoted"\n`);
  });

  it('runs commands side by side', async () => {
    const slow = guest.exec('sleep 1; echo slow');
    expect(await guest.execOk('echo quick')).toBe('quick\n');
    expect((await slow).stdout).toBe('slow\n');
  });

  it('runs Node beside, and its output outlives it', async () => {
    await guest.spawn([process.execPath, '-e', 'console.log("node", process.version)']);
    const seen = (): boolean => readFileSync(guest.logFile, 'utf8').includes('node v');
    await waitFor('Node has spoken', seen, { timeoutMs: PATIENCE_MS });
  });

  it('rests while paused and goes on after', async () => {
    guest.pause();
    expect(await answers('10.90.0.11')).toBe(false);
    guest.resume();
    await waitFor('it answers', () => answers('10.90.0.11'), { timeoutMs: PATIENCE_MS });
    expect(await guest.execOk('echo alive')).toBe('alive\n');
  });

  it('is silent at once when its power is cut', async () => {
    await guest.kill();
    expect(guest.isRunning()).toBe(false);
    expect(await answers('10.90.0.11')).toBe(false);
    expect((await guest.exec('true')).code).toBe(128);
  });

  it('says which module it could not load', async () => {
    const boot = bootGuest({
      name: 'g2',
      network,
      addresses: [],
      modules: ['no_such_module'],
    });
    await expect(boot).rejects.toThrow(/no_such_module/);
  });
});
