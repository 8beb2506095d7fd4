/** docs/real-servers.md shows what the command shows, and names what the code has. */
import { describe, expect, it } from 'vitest';
import { runRealServer } from '../../../src/agent/real-server-job.ts';
import { FALLBACK_DEVICES } from '../../../src/core/realserver/words.ts';
import { FakeRealServer } from '../../fakes/fake-real-server-host.ts';
import { runCli } from '../cli/harness.ts';
import { blocksOf, inlineCodeOf, read } from './documents.ts';

const FILE = 'docs/real-servers.md';
const noAgent = async (): Promise<number> => 0;

describe(FILE, () => {
  it('shows what the commands print, word for word', async () => {
    const host = new FakeRealServer();
    const [block] = blocksOf(FILE);
    const runs = (block?.text ?? '').split(/^\$ /m).filter((text) => text !== '');
    expect(runs).toHaveLength(3);
    for (const text of runs) {
      const [line = '', ...shown] = text.trimEnd().split('\n');
      const [, ...argv] = line.split(' ');
      // oxlint-disable-next-line no-await-in-loop -- one after the other, on one machine
      const screen = await runCli(argv, {}, noAgent, noAgent, (request) =>
        runRealServer(request, { host, store: host }),
      );
      expect(screen.out.trimEnd()).toBe(shown.join('\n'));
      expect(screen.err).toBe('');
    }
  });

  it('names every option of the command, and no other', async () => {
    const { out } = await runCli(['realserver', 'up', '--help']);
    const options = [...out.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, name]) => name);
    const table = read(FILE).split('| option |')[1]?.split('\n\n')[0] ?? '';
    const named = [...table.matchAll(/^\| `(--[a-z-]+)/gm)].map(([, name]) => name);
    expect(new Set(options)).toEqual(new Set(named));
  });

  it('names every device and module', () => {
    const table = read(FILE).split('| VIP | `--tunnel`')[1]?.split('\n\n')[0] ?? '';
    for (const { name, module } of FALLBACK_DEVICES) {
      expect(table).toContain(`\`${name}\``);
      expect(table).toContain(`\`${module}\``);
    }
  });

  it('is linked, and its unit is there', () => {
    expect(read('docs/index.md')).toContain('(real-servers.md)');
    expect(read('docs/cli.md')).toContain('(real-servers.md)');
    expect(inlineCodeOf(FILE).length).toBeGreaterThan(30);
    expect(read('deploy/systemd/leasehold-realserver@.service')).toContain(FILE);
  });
});
