/** What the documents say of keys, reasons, events, problems and times, held against the code. */
import { describe, expect, it } from 'vitest';
import { CATALOGUE } from '../../../src/adapters/prom/catalogue.ts';
import { LIFETIME_GATE_NEEDS } from '../../../src/agent/lifetime-gate.ts';
import { buildTiming, takeoverWaitMs } from '../../../src/config/timing.ts';
import {
  DRAINED_CLAIM_MS,
  FREEZE_HOLD_MS,
  LINGER_MS,
  OFFER_REST_MS,
  permitMsOf,
  PREPARE_WAIT_MS,
  RANK_DELAY_MS,
  READY_WAIT_MS,
  REFUSED_MS,
  UNHEARD_MS,
  UNKNOWN_SCOPE_HOLD_MS,
  UNVERIFIED_MS,
  VACANT_RANK_DELAY_MS,
  waitMs,
  wantedHoldMs,
} from '../../../src/core/election/timing.ts';
import {
  CALM,
  calmAt,
  HALF_LIFE_MS,
  PENALTY_MAX,
  recordFault,
} from '../../../src/core/placement/damping.ts';
import type { TimingProfile } from '../../../src/model/cluster.ts';
import { HOLD_REASONS, INELIGIBLE_REASONS } from '../../../src/model/decision.ts';
import { monoMs } from '../../../src/model/ids.ts';
import { GATE_KINDS } from '../../../src/model/kernel.ts';
import { createKeys } from '../../../src/model/keys.ts';
import type { PeerMessage } from '../../../src/model/peer.ts';
import { boundsOf } from '../../support/cluster-lab.ts';
import { FAULTS } from '../../support/faults.ts';
import { DOCUMENTS, inlineCodeOf, proseOf, read } from './documents.ts';

const design = proseOf('docs/design.md').replaceAll(/\s+/g, ' ');
const operations = proseOf('docs/operations.md').replaceAll(/\s+/g, ' ');
const operationsCode = inlineCodeOf('docs/operations.md');

const risks = design.split('## What can still go wrong')[1]?.split('## What is not')[0] ?? '';

const duration = (ms: number): string => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);

const PROFILES = ['fast', 'default', 'relaxed'] as const satisfies readonly TimingProfile[];

/** Names in the first column of the table that follows the line; each row must say something. */
function explainedIn(title: string): readonly string[] {
  const text = read('docs/operations.md').split(title)[1]?.split('\n\n')[1] ?? '';
  const rows = [...text.matchAll(/^\| (`.+?`(?:, `.+?`)*) \| (.{10,}) \|$/gm)];
  return rows.flatMap(([, names = '']) => names.replaceAll('`', '').split(', '));
}

describe('docs/design.md', () => {
  it('names every key of etcd, and none that is not', () => {
    const keys = createKeys('lab');
    const named = inlineCodeOf('docs/design.md')
      .filter((code) => /^(spec|(admin|run|log)\/[\w/<> -]+>)$/.test(code))
      .map((code) => code.replaceAll(/<[\w ]+>/g, 'x'));
    const kinds = new Set(named.map((path) => keys.parse(keys.prefix + path)?.kind ?? path));
    const all =
      'challenge confirm-dead drain event lease operation owner real report scope session spec switchover vote';
    expect([...kinds].toSorted()).toEqual(all.split(' '));
    expect(design).toContain(`\`${createKeys('<cluster>').prefix}\``);
  });

  it.each(PROFILES)('tells the times of the profile %s as they are', (profile) => {
    const timing = buildTiming({ profile });
    const { heartbeatMs, suspectMs, roundMs, holdMs, permitMs, slackMs, driftMargin } = timing;
    const wait = takeoverWaitMs(timing);
    const times = [heartbeatMs, suspectMs, roundMs, holdMs, permitMs, wait, suspectMs + wait];
    const cells = [...times, timing.leaseTtlS * 1000].map(duration).join(' | ');
    expect(read('docs/design.md')).toContain(`\n| \`${profile}\` | ${cells} |\n`);
    expect(design).toContain(`\`m = ${driftMargin}\``);
    expect(design).toContain(`\`δ = ${duration(slackMs)}\``);
    expect(permitMs).toBe(holdMs / 4);
    // The residual risk of a machine that is paused with its clock: F.
    const rest = duration(holdMs - permitMs);
    expect(risks).toMatch(new RegExp(`${rest} (in the fast profile|by default|relaxed)`));
    expect(operations).toContain(`${rest} in \`${profile}\``);
    expect(operations).toContain(`${duration(permitMs)} in \`${profile}\``);
  });

  it('names the profile that holds where the document names none', () => {
    expect(buildTiming(undefined).profile).toBe('default');
    expect(operations).toContain('also where the document says nothing');
  });

  it('tells what the gate of address lifetimes asks for', () => {
    const { minHoldMs, slackMs } = LIFETIME_GATE_NEEDS;
    const relaxed = buildTiming({ profile: 'relaxed' });
    const scope = {
      v: 1 as const,
      holdMs: relaxed.holdMs,
      slackMs,
      driftMargin: 0,
      session: 0,
      peers: [],
    };
    expect(design).toContain(`needs \`D\` of ${duration(minHoldMs)} at least`);
    expect(design).toContain(`\`δ = ${duration(slackMs)}\``);
    expect(design).toContain(`${duration(waitMs(scope, relaxed))} with \`relaxed\``);
  });

  it('names every kind of gate', () => {
    const code = inlineCodeOf('docs/design.md');
    expect(GATE_KINDS.filter((kind) => !code.includes(kind))).toEqual([]);
    expect(GATE_KINDS.filter((kind) => !operationsCode.includes(kind))).toEqual([]);
  });

  it('tells the waits of the election as they are', () => {
    expect(design).toContain(`${RANK_DELAY_MS} ms later per rank`);
    expect(design).toContain(`(${VACANT_RANK_DELAY_MS} ms for a vacant group`);
    expect(OFFER_REST_MS).toBe(5000);
    expect(design).toContain('not offered it again for five seconds');
    expect(DRAINED_CLAIM_MS).toBe(1000);
    expect(design).toContain('for a second, a director claims that drains or flaps');
    expect(operations).toContain(`asked again after ${duration(REFUSED_MS)}`);
    expect(design).toContain(`hold time of ${duration(UNKNOWN_SCOPE_HOLD_MS)}`);
    expect(design).toContain(`a hold time of ${duration(FREEZE_HOLD_MS)}`);
    expect(operations).toContain(`raises its hold time to ${duration(FREEZE_HOLD_MS)}`);
    expect(READY_WAIT_MS).toBe(10_000);
    expect(operations).toContain('the operation waits ten seconds for that');
  });

  it('tells the waits of a handover as they are', () => {
    expect(design).toContain(`after ${PREPARE_WAIT_MS} ms the holder goes on without the word`);
    expect(design).toContain(`${LINGER_MS} ms after \`verified\``);
    expect([UNVERIFIED_MS, UNHEARD_MS]).toEqual([1000, 3000]);
    expect(design).toContain('one second after the successor was heard to speak');
    expect(design).toContain('three seconds after it went mute at the latest');
    for (const kind of ['prepared', 'muted', 'verified'] satisfies PeerMessage['kind'][])
      expect(inlineCodeOf('docs/design.md')).toContain(kind);
  });

  it('tells how long flapping lasts', () => {
    const at = monoMs(0);
    const three = [1, 2, 3].reduce((state) => recordFault(state, at), CALM);
    expect(Math.floor((calmAt(three) ?? 0) / 1000)).toBe(95);
    expect(HALF_LIFE_MS * Math.log2(PENALTY_MAX)).toBe(180_000);
    for (const text of [design, operations]) {
      expect(text).toContain('95 s after three faults at once, three minutes after');
    }
    expect(design).toContain(`halves every ${duration(HALF_LIFE_MS)}`);
  });
});

describe('how long a kernel speaks on alone after a freeze', () => {
  const told = (file: string): string => proseOf(file).replaceAll(/\s+/g, ' ');
  const aliveMs = (profile: TimingProfile): number => {
    const timing = buildTiming({ profile });
    const holdMs = wantedHoldMs(timing, true);
    return holdMs - permitMsOf(holdMs, timing);
  };

  it('is told of every profile in docs/gateway.md', () => {
    const [fast, otherwise, relaxed] = PROFILES.map((profile) => duration(aliveMs(profile)));
    expect(told('docs/gateway.md')).toContain(
      `\`F\` is ${fast} in \`fast\`, ${otherwise} in \`default\` and ${relaxed} in \`relaxed\``,
    );
  });

  it('is told in docs/bench.md, with how long an upgrade is watched beyond it', () => {
    const upgrade = FAULTS.find(({ id }) => id === 'upgrade');
    const bench = told('docs/bench.md');
    const [fast, otherwise] = (['fast', 'default'] as const).map((profile) => {
      const windowMs = upgrade?.windowMs(boundsOf(profile)) ?? 0;
      expect(Math.round((windowMs - aliveMs(profile)) / 1000)).toBe(2);
      expect(bench).toContain(`watched for ${duration(windowMs)}, two seconds longer`);
      return duration(aliveMs(profile));
    });
    expect(bench).toContain(`for up to ${fast} in fast and ${otherwise} in default`);
  });
});

/** What becomes of the IPVS table at an end. */
const ENDS = ['ipvs.released', 'ipvs.left', 'ipvs.kept'];

describe('docs/operations.md', () => {
  it('explains every reason for a change of holder, and none that is not', () => {
    const explained = explainedIn('Why a group changed its holder');
    expect(explained.toSorted()).toEqual([...HOLD_REASONS].toSorted());
  });

  it('explains every reason why a director is no candidate, and none that is not', () => {
    const explained = explainedIn('Why a director is no candidate');
    expect(explained.toSorted()).toEqual([...INELIGIBLE_REASONS].toSorted());
  });

  it('names events that there are', () => {
    const told = operationsCode.filter((code) =>
      /^(session|holder|director|death|handover|challenge|owner|record)\.[a-z-]+$/.test(code),
    );
    expect(told.length).toBeGreaterThan(5);
    const source = ['src/core/election/notices.ts', 'src/api/routes/confirm-dead.ts']
      .map(read)
      .join('\n');
    expect(told.filter((kind) => !source.includes(`'${kind}'`))).toEqual([]);
  });

  it('quotes problems as status tells them', () => {
    const source = [
      'src/agent/status.ts',
      'src/agent/service-status.ts',
      'src/agent/ipvs-status.ts',
      'src/agent/report.ts',
      'src/agent/interfaces.ts',
      'src/model/status-words.ts',
    ]
      .map(read)
      .join('\n');
    const section = read('docs/operations.md')
      .split('## What a problem means')[1]
      ?.split('\n## ')[0];
    const problems = [...(section ?? '').matchAll(/^\| `([^`]+)` \|/gm)].map(
      ([, text = '']) => text,
    );
    expect(problems.length).toBeGreaterThan(12);
    const fragments = problems
      .flatMap((problem) =>
        problem.split(/\bweb-http\b|\bweb\b|\bd[12]\b|"public"|\beth0\b|[…():,]/),
      )
      .map((fragment) => fragment.trim())
      .filter((fragment) => fragment.includes(' '));
    expect(fragments.length).toBeGreaterThan(10);
    expect(fragments.filter((fragment) => !source.includes(fragment))).toEqual([]);
  });

  it('names what the log says at an end', () => {
    const source = read('src/agent/data-plane.ts');
    for (const event of ENDS) {
      expect(operationsCode).toContain(event);
      expect(source).toContain(`'${event}'`);
    }
  });

  it('names fields that status has', () => {
    const source = read('src/model/status.ts');
    const fields = operationsCode.filter(
      (code) => /^(hold|store|ipvs)\.[a-zA-Z]+$/.test(code) && !ENDS.includes(code),
    );
    expect(fields.length).toBeGreaterThan(3);
    for (const field of fields) expect(source, field).toContain(`${field.split('.')[1]}:`);
  });
});

describe('all documents', () => {
  it('name only metrics that are exported', () => {
    const names = DOCUMENTS.flatMap((file) => read(file).match(/\bleasehold_[a-z_]+/g) ?? []);
    const exported = Object.values(CATALOGUE).map(({ name }) => name as string);
    expect(names.filter((name) => !exported.includes(name))).toEqual([]);
  });
});
