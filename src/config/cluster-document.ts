/** From the cluster document (YAML 1.2 or JSON) to the spec that everything works from: parse, judge, fill in. */
import { LineCounter, parseDocument } from 'yaml';
import { err, messageOf, ok, type Result } from '../lib/result.ts';
import { parseIp } from '../model/address.ts';
import type { ClusterSpec, Isolation } from '../model/cluster.ts';
import { directorId } from '../model/ids.ts';
import { buildGroup } from './build-group.ts';
import { buildIpvs } from './build-ipvs.ts';
import { buildService } from './build-service.ts';
import { ClusterDocument } from './cluster-schema.ts';
import { DEFAULT_ISOLATION_MODE } from './defaults.ts';
import { must } from './must.ts';
import type { Problem } from './problem.ts';
import { clusterProblems, clusterWarnings } from './rules.ts';
import { explainShape } from './shape.ts';
import { buildTiming } from './timing.ts';

/** The store refuses values above 1.5 MiB; what is longer than this is a mistake anyway. */
export const MAX_TEXT_LENGTH = 1_000_000;

export type ParsedCluster = { readonly spec: ClusterSpec; readonly warnings: readonly Problem[] };

/** Judges a document and fills in the defaults; the error holds every problem, never none. */
export function parseClusterDocument(document: unknown): Result<ParsedCluster, readonly Problem[]> {
  const problems = [...explainShape(ClusterDocument, document), ...clusterProblems(document)];
  if (problems.length > 0) return err(problems);
  // explainShape has judged every value (its test holds it against TypeBox, which takes 0.4 s for
  // 10,000 real servers: too long for a director that must renew its hold meanwhile).
  const spec = buildSpec(document as ClusterDocument);
  return ok({ spec, warnings: clusterWarnings(document) });
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
        allowed: `at most ${MAX_TEXT_LENGTH} characters`,
      },
    ]);
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

function buildSpec(document: ClusterDocument): ClusterSpec {
  return {
    timing: buildTiming(document.timing),
    directors: Object.entries(document.directors).map(([name, director]) => ({
      id: directorId(name),
      address: must(parseIp(director.address)),
      zone: director.zone ?? null,
    })),
    groups: Object.entries(document.groups ?? {}).map(([name, group]) => buildGroup(name, group)),
    services: Object.entries(document.services ?? {}).map(([name, service]) =>
      buildService(name, service),
    ),
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
