/** From the cluster document (YAML 1.2 or JSON) to the spec that everything works from: parse, judge, fill in. */
import { LineCounter, parseDocument } from 'yaml';
import { err, messageOf, ok, type Result } from '../lib/result.ts';
import { runSteps } from '../lib/steps.ts';
import { parseIp } from '../model/address.ts';
import type { ClusterSpec, Isolation, VirtualService } from '../model/cluster.ts';
import { directorId } from '../model/ids.ts';
import { buildGroup } from './build-group.ts';
import { buildIpvs } from './build-ipvs.ts';
import { buildServiceSteps } from './build-service.ts';
import { ClusterDocument } from './cluster-schema.ts';
import { DEFAULT_ISOLATION_MODE } from './defaults.ts';
import { must } from './must.ts';
import type { Problem } from './problem.ts';
import { clusterProblemsSteps, clusterWarningsSteps } from './rules.ts';
import { explainShapeSteps } from './shape.ts';
import { buildTiming } from './timing.ts';

/** 45,000 listed real servers with a line for each word. */
export const MAX_TEXT_LENGTH = 5_000_000;
/**
 * Longer JSON is read as such, in a hundredth of the time that YAML takes, and of names that are there twice
 * the last one counts: no person wrote it.
 */
const JSON_LENGTH = 1_000_000;

export type ParsedCluster = { readonly spec: ClusterSpec; readonly warnings: readonly Problem[] };

/** Judges a document and fills in the defaults; the error holds every problem, never none. */
export const parseClusterDocument = (
  document: unknown,
): Result<ParsedCluster, readonly Problem[]> => runSteps(parseClusterSteps(document));

/** The same in pieces: tens of thousands of real servers take longer than the hold loop may wait. */
export function* parseClusterSteps(
  document: unknown,
): Generator<undefined, Result<ParsedCluster, readonly Problem[]>> {
  const parsed = yield* parseSpecSteps(document);
  if (!parsed.ok) return parsed;
  return ok({ spec: parsed.value, warnings: yield* clusterWarningsSteps(document) });
}

/** For those whom nobody reads warnings of. */
export function* parseSpecSteps(
  document: unknown,
): Generator<undefined, Result<ClusterSpec, readonly Problem[]>> {
  const ofShape = yield* explainShapeSteps(ClusterDocument, document);
  const problems = [...ofShape, ...(yield* clusterProblemsSteps(document))];
  if (problems.length > 0) return err(problems);
  // The shape was judged by every value (its test holds it against TypeBox, which takes 0.4 s for
  // 10,000 real servers).
  return ok(yield* buildSpecSteps(document as ClusterDocument));
}

/** The same from text; also gives the plain document, fit for the store. */
export function parseClusterText(
  text: string,
): Result<ParsedCluster & { readonly document: unknown }, readonly Problem[]> {
  const plain = parseYaml(text);
  if (!plain.ok) return plain;
  const parsed = parseClusterDocument(plain.value);
  return parsed.ok ? ok({ ...parsed.value, document: plain.value }) : parsed;
}

/** Text to a plain value; duplicate keys, unknown tags and syntax errors are problems with line and column. */
export function parseYaml(text: string): Result<unknown, readonly Problem[]> {
  if (text.length > MAX_TEXT_LENGTH)
    return err([
      {
        path: '',
        message: `has ${text.length} characters`,
        allowed: `at most ${MAX_TEXT_LENGTH}: one service for all ports of its real servers, with a range or a firewall mark, instead of one for each`,
      },
    ]);
  if (text.length > JSON_LENGTH && text.trimStart().startsWith('{')) {
    try {
      return ok(JSON.parse(text));
    } catch {
      // It is YAML, or YAML's parser tells line and column.
    }
  }
  const lines = new LineCounter();
  const parsed = parseDocument(text, {
    version: '1.2',
    uniqueKeys: true,
    strict: true,
    prettyErrors: false,
    lineCounter: lines,
  });
  const faults = [...parsed.errors, ...parsed.warnings];
  if (faults.length > 0)
    return err(
      faults.map((fault) => {
        const { line, col } = lines.linePos(fault.pos[0]);
        return {
          path: `line ${line}, column ${col}`,
          message: fault.message,
          allowed: 'one YAML 1.2 or JSON document',
        };
      }),
    );
  try {
    // Bounded: a few lines of nested aliases could otherwise grow to gigabytes.
    return ok(parsed.toJS({ maxAliasCount: 100 }));
  } catch (error) {
    return err([{ path: '', message: messageOf(error), allowed: 'at most 100 aliases' }]);
  }
}

function* buildSpecSteps(document: ClusterDocument): Generator<undefined, ClusterSpec> {
  const services: VirtualService[] = [];
  for (const [name, service] of Object.entries(document.services ?? {}))
    services.push(yield* buildServiceSteps(name, service));
  return {
    timing: buildTiming(document.timing),
    directors: Object.entries(document.directors).map(([name, director]) => ({
      id: directorId(name),
      address: must(parseIp(director.address)),
      zone: director.zone ?? null,
    })),
    groups: Object.entries(document.groups ?? {}).map(([name, group]) => buildGroup(name, group)),
    services,
    checkers: document.checkers ?? null,
    gateways: (document.gateway ?? []).map((gateway) => must(parseIp(gateway))),
    isolation: buildIsolation(document),
    ipvs: buildIpvs(document.ipvs),
  };
}

function buildIsolation({ gateway, isolation }: ClusterDocument): Isolation {
  const given: Exclude<ClusterDocument['isolation'], string> =
    typeof isolation === 'string' ? { policy: isolation } : isolation;
  const targets = (given?.targets ?? gateway ?? []).map((target) => must(parseIp(target)));
  return {
    policy: given?.policy ?? (targets.length > 0 ? 'gateway' : 'release'),
    targets,
    mode: given?.mode ?? DEFAULT_ISOLATION_MODE,
  };
}
