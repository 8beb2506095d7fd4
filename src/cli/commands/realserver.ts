/** `realserver up|down|status`: this machine behind a director, for dr and tun. Needs no API, no etcd, no agent. */
import type { Command } from 'commander';
import { err, type Result } from '../../lib/result.ts';
import type {
  AskedVip,
  RealServerAnswer,
  RealServerLine,
  RealServerRequest,
} from '../../model/real-server-host.ts';
import { type CliDeps, CliError, type CliIo, EXIT, type ExitCode } from '../context.ts';
import {
  missingVip,
  parseWishes,
  type Problems,
  type RealServerOptions,
} from '../realserver-options.ts';
import { createPaint, type Paint } from '../style.ts';

type Done = (code: ExitCode) => void;

export function addRealServerHostCommands(program: Command, deps: CliDeps, done: Done): void {
  const realserver = program
    .command('realserver')
    .description('prepare this machine as a real server for dr or tun; no director needed');
  const run = async (
    options: RealServerOptions,
    request: RealServerRequest,
    failure: ExitCode,
  ): Promise<void> => {
    const answer = await deps.realServer(request);
    if (!answer.ok) throw new CliError(EXIT.precondition, answer.error);
    print(deps.io, options, answer.value);
    done(answer.value.isGood ? EXIT.ok : failure);
  };
  addOptions(
    realserver.command('up').description('bind VIPs, and set what they need; all at once'),
  ).action(async (options: RealServerOptions) => {
    const wishes = orProblems(parseWishes(options, true));
    await run(options, { verb: 'up', wishes }, EXIT.precondition);
  });
  addOptions(
    realserver
      .command('down')
      .description('unbind VIPs, all without --vip; the last one gives back what up had changed')
      .option('--no-all', 'without --vip take nothing down, it is an error; for units and scripts'),
  ).action(async (options: RealServerOptions) => {
    await run(options, { verb: 'down', asked: askedBy(options) }, EXIT.precondition);
  });
  addOptions(
    realserver
      .command('status')
      .description('what is there and what is missing; exit code 0: ready, 1: not ready'),
  ).action(async (options: RealServerOptions) => {
    await run(options, { verb: 'status', asked: askedBy(options) }, EXIT.degraded);
  });
}

/** Null: all that are up. */
function askedBy(options: RealServerOptions): readonly AskedVip[] | null {
  const wishes = orProblems(parseWishes(options, false));
  const unclear = missingVip(options);
  if (unclear !== null) orProblems(err([unclear]));
  const isAsUp = options.mode === undefined;
  const asked = wishes.map((wish) => ({ vip: wish.address, wish: isAsUp ? null : wish }));
  return asked.length === 0 ? null : asked;
}

const addOptions = (command: Command): Command =>
  command
    .option(
      '--vip <address>',
      'VIP, IPv4 or IPv6; may be given several times',
      (text: string, before: readonly string[] | undefined) => [...(before ?? []), text],
    )
    .option('--mode <mode>', 'dr or tun, as `forward` of the virtual service')
    .option('--tunnel <kind>', 'for tun: ipip (default), gue, gre')
    .option(
      '--over <family>',
      "for tun: ipv4 or ipv6, family of the real server's own address; default that of the VIP",
    )
    .option('--gue-port <port>', 'for gue: UDP port')
    .option(
      '--interface <device>',
      'what carries the VIP; default lo for dr, the tunnel device of the kernel for tun',
    )
    .option('--json', 'the answer as JSON');

function orProblems<T>(parsed: Result<T, Problems>): T {
  if (parsed.ok) return parsed.value;
  throw new CliError(EXIT.badInput, parsed.error.map((problem) => `error: ${problem}`).join('\n'));
}

function print(io: CliIo, options: RealServerOptions, answer: RealServerAnswer): void {
  if (options.json === true) {
    io.stdout(`${JSON.stringify(answer, null, 2)}\n`);
    return;
  }
  const paint = createPaint(io);
  const width = Math.max(0, ...answer.lines.map(({ what }) => what.length));
  for (const line of answer.lines) io.stdout(`${formatLine(line, width, paint)}\n`);
  io.stdout(`${paint(answer.summary, answer.isGood ? 'good' : 'bad')}\n`);
}

const TONES = {
  ok: 'good',
  done: 'good',
  missing: 'bad',
  refused: 'bad',
  failed: 'bad',
  note: 'warn',
} as const;
const STATE_WIDTH = 7;

function formatLine(line: RealServerLine, width: number, paint: Paint): string {
  const { state, what, detail, remedy } = line;
  const mark = paint(state.padEnd(STATE_WIDTH), TONES[state]);
  return `${mark}  ${what.padEnd(width)}  ${detail}${remedy === null ? '' : `; remedy: ${remedy}`}`;
}
