/** `rebalance`: shows what would move, or asks for it and waits for the end of all moves. */
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { RebalanceResult } from '../../api/schemas/responses.ts';
import { parseAnswer, printWarnings } from '../answers.ts';
import { type CliIo, EXIT, type ExitCode } from '../context.ts';
import { awaitOperation } from '../operation-end.ts';
import { openSession, requireDuration, type Session } from '../session.ts';
import { formatTable } from '../table.ts';

type Options = { readonly reason: string; readonly wait: string; readonly dryRun?: boolean };

/** Why a group moves, as people say it. */
const REASONS: Readonly<Record<NonNullable<RebalanceResult['moves'][number]['reason']>, string>> = {
  priority: 'has the higher priority',
  bound: 'its holder has more than its share',
  'anti-affinity': 'away from a group that it should be apart from',
};

export function addRebalanceCommand(
  program: Command,
  io: CliIo,
  done: (code: ExitCode) => void,
): void {
  program
    .command('rebalance')
    .description('spread the VIP groups over the directors anew, by planned handovers')
    .requiredOption('--reason <text>', 'needed: why; kept in the audit')
    .option('--wait <duration>', 'for the end; exit code 4 when it takes longer, 0s: do not', '60s')
    .option('--dry-run', 'show what would move, change nothing')
    .action(async (options: Options, command: Command) => {
      const waitMs = requireDuration(options.wait, '--wait');
      const session = await openSession(io, command);
      const result = await request(session, options);
      io.stdout(formatPlan(result, io.columns));
      printWarnings(io, result.warnings);
      const isRefused = result.moves.some(({ problem }) => problem !== null);
      const ended = waitMs === 0 ? EXIT.ok : await awaitAll(session, result, waitMs);
      done(ended === EXIT.ok && isRefused ? EXIT.precondition : ended);
    });
}

async function request({ client }: Session, { reason, dryRun }: Options): Promise<RebalanceResult> {
  const answer = await client.call({
    method: 'POST',
    path: `/api/v1/rebalance${dryRun === true ? '?dryRun=true' : ''}`,
    // One key for all directors that are tried: it happens once, whoever answers.
    headers: { 'idempotency-key': randomUUID() },
    body: { reason },
    isRepeatable: true,
  });
  return parseAnswer(RebalanceResult, answer.body);
}

/** One time limit for all; the worst end counts: failed before unfinished. */
async function awaitAll(
  session: Session,
  { moves }: RebalanceResult,
  waitMs: number,
): Promise<ExitCode> {
  const deadline = session.io.clock.now() + waitMs;
  let worst: ExitCode = EXIT.ok;
  for (const { group, operation } of moves) {
    if (operation === null) continue;
    session.io.stdout(`${group}: operation ${operation}\n`);
    const ended = await awaitOperation(session, operation, { waitMs, deadline });
    if (ended === EXIT.precondition || worst === EXIT.ok) worst = ended;
  }
  return worst;
}

function formatPlan(
  { moves, load, bound, summary, dryRun }: RebalanceResult,
  columns: number | null,
): string {
  const head = `${dryRun ? 'dry run: ' : ''}${summary}; a fair share is ${bound}\n`;
  const shares = formatTable(
    [{ title: 'DIRECTOR' }, { title: 'LOAD', align: 'right' }, { title: 'AFTER', align: 'right' }],
    load.map(({ director, before, after }) => [director, String(before), String(after)]),
    columns,
  );
  if (moves.length === 0) return `${head}\n${shares}`;
  const table = formatTable(
    [{ title: 'GROUP' }, { title: 'FROM' }, { title: 'TO' }, { title: 'BECAUSE' }],
    moves.map(({ group, from, to, reason }) => [
      group,
      from,
      to,
      reason === null ? 'asked for before' : REASONS[reason],
    ]),
    columns,
  );
  return `${head}\n${table}\n${shares}`;
}
