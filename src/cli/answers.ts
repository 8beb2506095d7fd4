/** Answers of the API, parsed before they are used: another version may be at the other end. */
import { checkAnswer } from '../api/schemas/check-answer.ts';
import type { ChangeResult } from '../api/schemas/responses.ts';
import { CliError, type CliIo, EXIT } from './context.ts';

type Schema = Parameters<typeof checkAnswer>[0];
type Checked<S extends Schema> = Extract<
  ReturnType<typeof checkAnswer<S>>,
  { readonly ok: true }
>['value'];

/** Throws a `CliError` where the answer does not fit: the versions differ too much. */
export function parseAnswer<S extends Schema>(schema: S, body: unknown): Checked<S> {
  const checked = checkAnswer(schema, body);
  if (checked.ok) return checked.value;
  throw new CliError(
    EXIT.unreachable,
    `the director answered something else than expected (${checked.error}); is it of another version?`,
  );
}

/** One line of what was done, then the warnings. */
export function printChange(io: CliIo, result: ChangeResult): void {
  const prefix = result.dryRun ? 'dry run: ' : result.changed ? '' : 'nothing to do: ';
  io.stdout(`${prefix}${result.summary}\n`);
  printWarnings(io, result.warnings);
}

export function printWarnings(io: CliIo, warnings: readonly string[]): void {
  for (const warning of warnings) io.stderr(`warning: ${warning}\n`);
}
