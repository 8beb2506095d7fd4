/** An operator's word that a director is dead, where nobody that is left may judge it (design 4.9). */
import { ABSENT, type DirectorId, type Revision } from '../../model/ids.ts';
import {
  ConfirmDeadRecord,
  formatRecord,
  parseRecord,
  SessionRecord,
} from '../../model/records.ts';
import type { DirectorStatus } from '../../model/status.ts';
import { commitIntent, readKey } from '../commit.ts';
import type { ApiContext, Caller, TypedApp } from '../context.ts';
import { findDirector } from '../lookup.ts';
import { problemError } from '../problem.ts';
import { problemResponses } from '../schemas/problem.ts';
import { ConfirmDeadBody, DirectorParams, WriteQuery } from '../schemas/requests.ts';
import { ChangeResult } from '../schemas/responses.ts';

/** Rounds lost to other writers before the caller hears of it. */
const TRIES = 4;

export function registerConfirmDead(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/directors/:director/confirm-dead',
    {
      config: { role: 'operator' },
      schema: {
        operationId: 'confirmDeadDirector',
        summary: 'Say that a silent director is off, where nobody that is left may judge it',
        description:
          'Its groups may then be taken over, once it has left a challenge in etcd unanswered. A director that lives and has etcd takes the word back and goes on. One that lives without etcd may go on speaking beside its successor: cut its power first.',
        tags: ['directors'],
        params: DirectorParams,
        querystring: WriteQuery,
        body: ConfirmDeadBody,
        response: { 200: ChangeResult, ...problemResponses(400, 401, 403, 404, 409, 503, 504) },
      },
    },
    (request) => {
      const director = findDirector(ctx, request.params.director);
      const { dryRun = false } = request.query;
      return confirmDead(ctx, request.caller, { director, dryRun, ...request.body });
    },
  );
}

type Asked = ConfirmDeadBody & { readonly director: DirectorId; readonly dryRun: boolean };

async function confirmDead(ctx: ApiContext, caller: Caller, asked: Asked): Promise<ChangeResult> {
  const { director, dryRun, reason } = asked;
  const key = ctx.keys.confirmDead(director);
  for (let i = 0; i < TRIES; i++) {
    const session = await openSessionOf(ctx, director);
    const current = await readKey(ctx, key);
    const old = current.value === null ? null : parseRecord(ConfirmDeadRecord, current.value);
    const isSaid = old?.ok === true && old.value.session === session;
    judge(ctx, asked, session);
    const summary = `confirm that ${director} is dead (session ${session})`;
    const warnings = isSaid ? [] : [riskOf(director)];
    const result = { changed: !isSaid, dryRun, summary, warnings };
    if (isSaid || dryRun) return { ...result, revision: null, event: null };
    const at = ctx.clock.wallTime();
    const record: ConfirmDeadRecord = { v: 1, session, by: caller.name, reason, at };
    const committed = await commitIntent(ctx, caller, {
      compares: [
        { key: ctx.keys.session(director), modRevision: session },
        { key, modRevision: current.modRevision },
      ],
      operations: [{ op: 'put', key, value: formatRecord(record) }],
      event: { kind: 'death.confirmed', subject: director, reason, message: summary },
    });
    if (committed.kind === 'committed')
      return { ...result, revision: committed.revision, event: committed.eventId };
  }
  throw problemError('conflict', 'others keep changing the same thing; try again');
}

/** Exactly what the operator must be sure of. */
const riskOf = (director: string): string =>
  `${director} must be off, and stay off until its agent can reach etcd again: if it lives, cut off from etcd, it may go on by the promises of other directors or by its gateway, and two directors would answer for its VIPs`;

/** The mod revision of its open session, by the store's word. Throws 409 where there is none. */
async function openSessionOf(ctx: ApiContext, director: DirectorId): Promise<Revision> {
  const { value, modRevision } = await readKey(ctx, ctx.keys.session(director));
  const record = value === null ? null : parseRecord(SessionRecord, value);
  if (modRevision === ABSENT || (record?.ok === true && record.value.state !== 'open'))
    throw problemError(
      'conflict',
      `${director} has no open session, so nothing waits for it; there is nothing to confirm`,
    );
  if (record?.ok !== true)
    throw problemError(
      'conflict',
      `the session record of ${director} cannot be read here: a newer version wrote it; ask a director of that version`,
    );
  return modRevision;
}

/** Throws 409 where the operator sees, or says, something else than this director does. */
function judge(ctx: ApiContext, { director, session: meant }: Asked, session: Revision): void {
  const look = 'look again with leasehold director list';
  const known = ctx.view.status().directors.find(({ name }) => name === director);
  const silence: DirectorStatus['silence'] = known?.silence;
  if (meant !== undefined && meant !== session)
    throw problemError(
      'conflict',
      `the session of ${director} is ${session} by now, not ${meant}: it has lived since; ${look}`,
    );
  if (silence === undefined)
    throw problemError(
      'conflict',
      director === ctx.view.director
        ? `${director} answers this very request: it lives; ask another director about a dead one`
        : `${ctx.view.director} hears ${director}, or did a few seconds ago: it is not known to be dead; ${look}. To move its VIP groups: leasehold director drain ${director}`,
    );
  if (silence.session !== session)
    throw problemError(
      'conflict',
      `${director} has just begun another session, ${session}: it lives; ${look}`,
    );
  if (!silence.needsWord && silence.confirmedDead === null)
    throw problemError(
      'conflict',
      `no word is needed: ${ctx.view.director}, or a director that it hears, may judge ${director} by itself, and shuts it out once it leaves a challenge unanswered; see leasehold events`,
    );
}
