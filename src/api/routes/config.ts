/** The cluster document: read, judge, compare, replace under guard. */
import { parseClusterSteps, parseSpecSteps } from '../../config/cluster-document.ts';
import type { Problem } from '../../config/problem.ts';
import { err, ok, type Result } from '../../lib/result.ts';
import type { ClusterSpec } from '../../model/cluster.ts';
import type { Revision } from '../../model/ids.ts';
import { ABSENT } from '../../model/ids.ts';
import { parseRecord, SpecRecord } from '../../model/records.ts';
import { commitIntent, readKey } from '../commit.ts';
import { diffSteps, equalSteps } from '../config-diff.ts';
import type { ApiContext, Caller, ShrinkRefusal, TypedApp } from '../context.ts';
import { leftoverWarnings } from '../leftovers.ts';
import { createProblem, ProblemError, problemError } from '../problem.ts';
import { problemResponses } from '../schemas/problem.ts';
import {
  ConfigBody,
  ConfigHeaders,
  DocumentBody,
  NoQuery,
  WriteQuery,
} from '../schemas/requests.ts';
import {
  ConfigDiff,
  ConfigDocument,
  ConfigResult,
  ConfigValidation,
} from '../schemas/responses.ts';

const tags = ['config'];
/** Changes listed in an answer. */
const CHANGES_MAX = 1000;
/** Problems, or warnings, in an answer; more are counted. */
const PROBLEMS_MAX = 1000;
/** Of a body with a document: 100,000 listed real servers. What the store takes is told when it is packed. */
const DOCUMENT_BYTES_MAX = 8_000_000;

export function registerConfigRoutes(app: TypedApp, ctx: ApiContext): void {
  registerGet(app, ctx);
  registerPut(app, ctx);
  registerValidate(app, ctx);
  registerDiff(app, ctx);
}

const etag = (at: number): string => `"${at}"`;

/** The stored document, fresh; `stored` is null where there is none or none that can be read. */
async function loadSpec(ctx: ApiContext): Promise<Current> {
  const { value, modRevision } = await readKey(ctx, ctx.keys.spec);
  const parsed = value === null ? null : parseRecord(SpecRecord, value);
  return {
    revision: modRevision,
    stored: parsed?.ok === true ? await readStored(ctx, parsed.value) : null,
  };
}

async function readStored(ctx: ApiContext, record: SpecRecord): Promise<StoredDocument | null> {
  const { codec, documents } = ctx;
  // Unpacked, one takes many times its size: not all that are asked for at once.
  const read = await (record.v === 1
    ? codec.read(record)
    : documents.runResting(() => codec.read(record)));
  return read.ok ? { document: read.value, by: record.by, at: record.at } : null;
}

function registerGet(app: TypedApp, ctx: ApiContext): void {
  app.get(
    '/api/v1/config',
    {
      schema: {
        operationId: 'getConfig',
        summary: 'The cluster document as it was applied',
        tags,
        querystring: NoQuery,
        response: { 200: ConfigDocument, ...problemResponses(401, 404, 409, 503) },
      },
    },
    async (_request, reply) => {
      const config = await currentConfig(ctx);
      if (config === null)
        throw problemError('unknown-name', 'no cluster document was applied yet', { revision: 0 });
      return reply.header('etag', etag(config.revision)).send(config);
    },
  );
}

/** From the store; what this director saw last where the store does not answer. */
async function currentConfig(ctx: ApiContext): Promise<ConfigDocument | null> {
  try {
    const { revision: at, stored } = await loadSpec(ctx);
    if (stored === null && at === ABSENT) return null;
    if (stored === null)
      throw problemError(
        'conflict',
        `the stored document (revision ${at}) cannot be read; apply a good one over it`,
        { revision: at },
      );
    return { revision: at, ...stored, isStale: false };
  } catch (error) {
    const seen = ctx.view.spec();
    const isStoreAway = error instanceof ProblemError && error.problem.code === 'store-unavailable';
    const stored = isStoreAway && seen.record !== null ? await readStored(ctx, seen.record) : null;
    if (stored === null) throw error;
    return { revision: seen.revision, ...stored, isStale: true };
  }
}

type Judged = { readonly spec: ClusterSpec; readonly warnings: string[] };

/** Every problem of the document, those with this director's own limits included. */
const judge = (
  { documents, view }: ApiContext,
  document: unknown,
): Promise<Result<Judged, readonly Problem[]>> =>
  documents.runSteps(() => judgeSteps(view, document));

function* judgeSteps(
  view: ApiContext['view'],
  document: unknown,
): Generator<undefined, Result<Judged, readonly Problem[]>> {
  const parsed = yield* parseClusterSteps(document);
  if (!parsed.ok) return parsed;
  const { spec, warnings } = parsed.value;
  const message = yield* view.judgeChecksSteps(spec);
  if (message === null) return ok({ spec, warnings: inWords(warnings) });
  const allowed =
    'fewer checks or checkers, more directors, or a higher LimitNOFILE of leasehold.service on each of them';
  return err([{ path: 'services', message, allowed }]);
}

/** Throws 422 with every problem of the document. */
async function requireValid(ctx: ApiContext, document: unknown): Promise<Judged> {
  const judged = await judge(ctx, document);
  if (judged.ok) return judged.value;
  const { length } = judged.error;
  const count = length === 1 ? 'one problem' : `${length} problems`;
  throw problemError('invalid-document', `the cluster document has ${count}; nothing was applied`, {
    problems: listed(judged.error),
  });
}

/** Tens of thousands would be megabytes that nobody reads. */
function listed(problems: readonly Problem[]): Problem[] {
  const shown = problems.slice(0, PROBLEMS_MAX).map((problem) => ({ ...problem }));
  const rest = problems.length - shown.length;
  return rest === 0 ? shown : [...shown, { path: '', message: `${rest} more`, allowed: '' }];
}

const inWords = (problems: readonly Problem[]): string[] =>
  listed(problems).map(({ path, message }) => (path === '' ? message : `${path}: ${message}`));

type StoredDocument = { readonly document: unknown; readonly by: string; readonly at: string };

type Current = { readonly revision: Revision; readonly stored: StoredDocument | null };

/** Null where there is none, or none that is valid. */
async function specOf({ documents }: ApiContext, { stored }: Current): Promise<ClusterSpec | null> {
  if (stored === null) return null;
  const parsed = await documents.runSteps(() => parseSpecSteps(stored.document));
  return parsed.ok ? parsed.value : null;
}

/** Asks also where a document is stored that nobody can read: then nothing can be compared. */
async function compareSpecs(
  ctx: ApiContext,
  current: Current,
  next: ClusterSpec,
): Promise<{ readonly before: ClusterSpec | null; readonly shrink: ShrinkRefusal | null }> {
  const before = await specOf(ctx, current);
  const { revision: at } = current;
  if (at === ABSENT || before !== null) {
    const shrink = await ctx.documents.runSteps(() => ctx.checkShrink(before, next));
    return { before, shrink };
  }
  const message = `the stored document (revision ${at}) cannot be read, so what this would remove is not known`;
  const shrink = { message, removedGroups: [], removedServices: [], removedRealServers: [] };
  return { before, shrink };
}

function registerPut(app: TypedApp, ctx: ApiContext): void {
  app.put(
    '/api/v1/config',
    {
      config: { role: 'admin' },
      bodyLimit: DOCUMENT_BYTES_MAX,
      schema: {
        operationId: 'putConfig',
        summary: 'Replace the cluster document',
        description: 'Needs If-Match with the ETag of the present document where there is one.',
        tags,
        querystring: WriteQuery,
        headers: ConfigHeaders,
        body: ConfigBody,
        response: {
          200: ConfigResult,
          ...problemResponses(400, 401, 403, 409, 412, 413, 422, 428, 503, 504),
        },
      },
    },
    async (request, reply) => {
      const judged = await requireValid(ctx, request.body.document);
      const current = await loadSpec(ctx);
      checkGuards(current.revision, request.headers);
      const result = await replaceSpec(ctx, {
        current,
        judged,
        document: request.body.document,
        confirmShrink: request.body.confirmShrink ?? false,
        dryRun: request.query.dryRun ?? false,
        caller: request.caller,
      });
      return reply.header('etag', etag(result.revision ?? current.revision)).send(result);
    },
  );
}

/** RFC 9110 13.1.1, 13.1.2, and RFC 6585 3 where a guard is missing. */
function checkGuards(
  current: Revision,
  headers: { readonly 'if-match'?: string; readonly 'if-none-match'?: string },
): void {
  const match = headers['if-match'];
  const noneMatch = headers['if-none-match'];
  const tags = (text: string): string[] => text.split(',').map((tag) => tag.trim());
  if (match === undefined && noneMatch === undefined && current !== ABSENT)
    throw problemError(
      'precondition-required',
      `a cluster document is there (revision ${current}): read it, then send If-Match: ${etag(current)}`,
      { revision: current },
    );
  const isMatch =
    match === undefined ||
    (current !== ABSENT && (match.trim() === '*' || tags(match).includes(etag(current))));
  const isNoneMatch =
    noneMatch === undefined ||
    current === ABSENT ||
    (noneMatch.trim() !== '*' && !tags(noneMatch).includes(etag(current)));
  if (!isMatch || !isNoneMatch) throw staleRevision(current);
}

const staleRevision = (current: Revision): ProblemError =>
  problemError(
    'precondition-failed',
    current === ABSENT
      ? 'there is no cluster document yet: send no If-Match'
      : `the cluster document is at revision ${current} now: read it again, then send If-Match: ${etag(current)}`,
    { revision: current },
  );

type Replacement = {
  readonly current: Current;
  readonly judged: Judged;
  readonly document: unknown;
  readonly confirmShrink: boolean;
  readonly dryRun: boolean;
  readonly caller: Caller;
};

async function replaceSpec(ctx: ApiContext, replacement: Replacement): Promise<ConfigResult> {
  const { current, judged, document, dryRun, caller } = replacement;
  const { shrink, before } = await compareSpecs(ctx, current, judged.spec);
  if (shrink !== null && !replacement.confirmShrink) throw shrinkRefused(shrink);
  const old = current.stored?.document;
  const changes = await changesOf(ctx, old, document);
  const isSame =
    current.stored !== null && (await ctx.documents.runSteps(() => equalSteps(old, document)));
  const changed = !isSame;
  const summary = changed ? summarize(changes.length) : 'the document is applied already';
  const leftovers = await leftoverWarnings(ctx, before, judged.spec);
  const warnings = [...judged.warnings, ...leftovers];
  const base = { changed, dryRun, summary, changes, warnings };
  if (!changed) return { ...base, revision: null, event: null };
  const value = await ctx.codec.format({
    document,
    by: caller.name,
    at: ctx.clock.wallTime(),
  });
  if (!value.ok) throw problemError('too-large', `${value.error}; nothing was applied`);
  if (dryRun) return { ...base, revision: null, event: null };
  const committed = await commitIntent(ctx, caller, {
    compares: [{ key: ctx.keys.spec, modRevision: current.revision }],
    operations: [{ op: 'put', key: ctx.keys.spec, value: value.value }],
    event: {
      kind: 'spec.applied',
      subject: 'spec',
      message: summary,
      reason: shrink === null ? null : `shrink confirmed: ${shrink.message}`,
    },
  });
  if (committed.kind === 'conflict') throw staleRevision((await loadSpec(ctx)).revision);
  return { ...base, revision: committed.revision, event: committed.eventId };
}

const changesOf = async (
  { documents }: ApiContext,
  before: unknown,
  after: unknown,
): Promise<ConfigResult['changes']> => [
  ...(await documents.runSteps(() => diffSteps(before, after, CHANGES_MAX))),
];

const summarize = (count: number): string =>
  `cluster document applied: ${count === 1 ? '1 change' : `${count} changes`}`;

const removedBy = (shrink: ShrinkRefusal): string[] => [
  ...shrink.removedGroups.map((name) => `VIP group ${name}`),
  ...shrink.removedServices.map((name) => `virtual service ${name}`),
  ...shrink.removedRealServers.map((name) => `real server ${name}`),
];

const shrinkRefused = (shrink: ShrinkRefusal): ProblemError =>
  new ProblemError(
    createProblem('shrink-refused', `${shrink.message}; nothing was applied`, {
      removed: removedBy(shrink),
      confirm:
        'if this is meant: "confirmShrink": true in the body, or leasehold apply --confirm-shrink',
    }),
  );

function registerValidate(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/config/validate',
    {
      bodyLimit: DOCUMENT_BYTES_MAX,
      schema: {
        operationId: 'validateConfig',
        summary: 'Judge a cluster document without applying it',
        tags,
        querystring: NoQuery,
        body: DocumentBody,
        response: { 200: ConfigValidation, ...problemResponses(400, 401, 413, 503) },
      },
    },
    async (request) => {
      const judged = await judge(ctx, request.body.document);
      return judged.ok
        ? { valid: true, problems: [], warnings: judged.value.warnings }
        : { valid: false, problems: listed(judged.error), warnings: [] };
    },
  );
}

function registerDiff(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/config/diff',
    {
      bodyLimit: DOCUMENT_BYTES_MAX,
      schema: {
        operationId: 'diffConfig',
        summary: 'What an apply of this document would change',
        tags,
        querystring: NoQuery,
        body: DocumentBody,
        response: { 200: ConfigDiff, ...problemResponses(400, 401, 413, 422, 503) },
      },
    },
    async (request) => {
      const { document } = request.body;
      const { spec, warnings } = await requireValid(ctx, document);
      const current = await loadSpec(ctx);
      const { shrink, before } = await compareSpecs(ctx, current, spec);
      return {
        revision: current.revision,
        changes: await changesOf(ctx, current.stored?.document, document),
        shrink: shrink === null ? null : { message: shrink.message, removed: removedBy(shrink) },
        warnings: [...warnings, ...(await leftoverWarnings(ctx, before, spec))],
      };
    },
  );
}
