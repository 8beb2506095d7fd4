/** `switchover GROUP`: asks for it and waits for its end. */
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { OperationAccepted } from '../../api/schemas/responses.ts';
import { parseAnswer, printWarnings } from '../answers.ts';
import { type CliIo, EXIT, type ExitCode } from '../context.ts';
import { awaitOperation } from '../operation-end.ts';
import { openSession, requireDuration, type Session } from '../session.ts';

type Options = {
  readonly from?: string;
  readonly to?: string;
  readonly reason: string;
  readonly wait: string;
  readonly dryRun?: boolean;
};

export function addSwitchoverCommand(
  program: Command,
  io: CliIo,
  done: (code: ExitCode) => void,
): void {
  program
    .command('switchover')
    .description('move a VIP group to another director')
    .argument('<group>', 'the VIP group')
    .requiredOption('--reason <text>', 'needed: why; kept in the audit')
    .option('--from <director>', 'refuse unless this one is the holder')
    .option('--to <director>', 'default: the best candidate')
    .option('--wait <duration>', 'for the end; exit code 4 when it takes longer, 0s: do not', '30s')
    .option('--dry-run', 'check everything, change nothing')
    .action(async (group: string, options: Options, command: Command) => {
      const waitMs = requireDuration(options.wait, '--wait');
      const session = await openSession(io, command);
      const accepted = await request(session, group, options);
      io.stdout(`${accepted.dryRun ? 'dry run: ' : ''}${accepted.summary}\n`);
      printWarnings(io, accepted.warnings);
      if (accepted.id === null) return done(EXIT.ok);
      io.stdout(`operation ${accepted.id}\n`);
      done(
        waitMs === 0
          ? EXIT.ok
          : await awaitOperation(session, accepted.id, {
              waitMs,
              deadline: session.io.clock.now() + waitMs,
            }),
      );
    });
}

async function request(
  { client }: Session,
  group: string,
  { from, to, reason, dryRun }: Options,
): Promise<OperationAccepted> {
  const answer = await client.call({
    method: 'POST',
    path: `/api/v1/groups/${encodeURIComponent(group)}/switchover${dryRun === true ? '?dryRun=true' : ''}`,
    // One key for all directors that are tried: it happens once, whoever answers.
    headers: { 'idempotency-key': randomUUID() },
    body: {
      reason,
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
    },
    isRepeatable: true,
  });
  return parseAnswer(OperationAccepted, answer.body);
}
