/** docs/tracks.md tells numbers, words and names as the code has them. */
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { KILL_GRACE_MS, PROGRAM_PATH } from '../../../src/adapters/programs/run-program.ts';
import { FILE_LOOK_MS } from '../../../src/adapters/tracks/file-watch.ts';
import { PROCESS_LOOK_MS } from '../../../src/adapters/tracks/process-watch.ts';
import { DEFAULT_TRACK } from '../../../src/config/defaults.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { targetsOf } from '../../../src/core/tracks/track-targets.ts';
import { HOLD_REASONS } from '../../../src/model/decision.ts';
import { blocksOf, inlineCodeOf, read } from './documents.ts';

const FILE = 'docs/tracks.md';
const text = read(FILE).replaceAll(/\s+/g, ' ');
const source = (file: string): string => read(`src/adapters/${file}`);

/** The value of a constant that its file keeps for itself. */
const constant = (file: string, name: string): number =>
  Number(new RegExp(`const ${name} = ([\\d_]+)`).exec(source(file))?.[1]?.replaceAll('_', ''));

describe(FILE, () => {
  it('has an example that says what it should', () => {
    const [block] = blocksOf(FILE).filter(({ language }) => language === 'yaml');
    const parsed = parseClusterDocument(parse(block?.text ?? ''));
    const groups = parsed.ok ? parsed.value.spec.groups : [];
    expect(groups[0]?.tracks.map(({ kind, weight }) => [kind, weight])).toEqual([
      ['interface', null],
      ['script', -60],
      ['process', null],
      ['file', 1],
    ]);
    expect(targetsOf(groups)).toHaveLength(3);
  });

  it('tells the defaults', () => {
    expect(text).toContain(`\`interval\` ${DEFAULT_TRACK.intervalMs / 1000}s`);
    expect(text).toContain(`\`rise\` ${DEFAULT_TRACK.rise}, \`fall\` ${DEFAULT_TRACK.fall}`);
    expect(text).toContain(
      `\`quorum\` ${DEFAULT_TRACK.quorum}, \`delay\` ${DEFAULT_TRACK.delayMs}s`,
    );
  });

  it('tells times and bounds', () => {
    expect(text).toContain(`\`${PROGRAM_PATH}\``);
    expect(text).toContain(`after ${KILL_GRACE_MS / 1000} s SIGKILL`);
    expect(text).toContain(`look every ${PROCESS_LOOK_MS} ms`);
    expect(text).toContain(`seen within ${FILE_LOOK_MS / 1000} s where`);
    const places = constant('tracks/track-runner.ts', 'CONCURRENT_MAX');
    expect(text).toContain(`At most ${places} scripts run together`);
    const length = constant('tracks/script-runs.ts', 'DETAIL_LENGTH_MAX');
    expect(text).toContain(`at most ${length} characters`);
    const bytes = constant('programs/number-file.ts', 'BYTES_MAX');
    expect(text).toContain(`at most ${bytes} bytes`);
    const tornMs = constant('tracks/file-watch.ts', 'TORN_MS');
    expect(text).toContain(`again after ${tornMs} ms`);
    const commBytes = constant('tracks/process-table.ts', 'COMM_BYTES_MAX');
    expect(text).toContain(`at most ${commBytes} bytes`);
    expect(constant('tracks/script-runs.ts', 'START_SPREAD_MS')).toBe(1000);
  });

  it('quotes words as they are said', () => {
    const code = inlineCodeOf(FILE);
    expect(code).toContain('track.changed');
    expect(read('src/agent/track-loop.ts')).toContain("'track.changed'");
    expect(HOLD_REASONS).toContain('track-failed');
    const said = ' does not exist, or the interpreter in its first line does not';
    expect(text).toContain(`\`/usr/local/bin/check${said}\``);
    expect(source('programs/run-program.ts')).toContain(said);
  });
});
