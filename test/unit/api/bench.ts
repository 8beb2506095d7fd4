/** The API on fakes, with answers checked against the schemas of their routes. */
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';
import Value from 'typebox/value';
import { expect } from 'vitest';
import { createZlibCodec } from '../../../src/adapters/documents/zlib-codec.ts';
import type { ApiOptions, ApiPorts } from '../../../src/api/context.ts';
import { Problem } from '../../../src/api/schemas/problem.ts';
import { type Api, createApi } from '../../../src/api/server.ts';
import { planRebalance } from '../../../src/core/placement/rebalance.ts';
import { checkShrinkSteps } from '../../../src/core/shrink-guard.ts';
import { createKeys, type Keys } from '../../../src/model/keys.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { CLUSTER_DOCUMENT, FakeAgentView } from '../../fakes/fake-agent-view.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeCluster } from '../../fakes/fake-store.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';
import { ObservedStore } from './observed-store.ts';

/** JSON whose schema the bench has checked: tests pick what they look at. */
export type Json = ReturnType<typeof JSON.parse>;

export type Bench = {
  readonly api: Api;
  readonly view: FakeAgentView;
  readonly store: ObservedStore;
  readonly keys: Keys;
  readonly clock: FakeClock;
  /** Lines of the log: event names with fields. */
  readonly logged: string[];
  readonly metrics: { text: string };
};

/** Without a document in the store unless `applyDocument` is called. */
export function createBench(
  options: Partial<ApiOptions> = {},
  ports: Partial<Pick<ApiPorts, 'codec'>> = {},
): Bench {
  const view = new FakeAgentView();
  const keys = createKeys('lab');
  const clock = new FakeClock();
  const store = new ObservedStore(new FakeCluster({ clock, random: new SeededRandom(2) }));
  const logged: string[] = [];
  const log = {
    ...silentLog,
    error: (fields: object, event: string) => logged.push(`${event} ${JSON.stringify(fields)}`),
  };
  const metrics = {
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    text: 'leasehold_holder{group="web"} 1\n',
    render: async () => metrics.text,
  };
  const api = createApi(
    {
      listen: { host: '127.0.0.1', port: 0 },
      version: '0.1.0',
      checkShrink: checkShrinkSteps,
      planRebalance,
      ...options,
    },
    {
      view,
      store,
      codec: createZlibCodec({ clock }),
      keys,
      clock,
      random: new SeededRandom(1),
      metrics,
      log,
      ...ports,
    },
  );
  return { api, view, store, keys, clock, logged, metrics };
}

/** Puts the fake view's document into the store; answers its revision. */
export function applyDocument(bench: Bench, document: unknown = CLUSTER_DOCUMENT): number {
  return bench.store.put(bench.keys.spec, {
    v: 1,
    document,
    by: 'alice',
    at: '2026-01-01T00:00:00.000Z',
  });
}

/** Sends a request and checks status, media type and body against the route's schema. */
export async function call(
  bench: Pick<Bench, 'api'>,
  request: InjectOptions & { method: string; url: string },
  status: number,
): Promise<{ body: Json; headers: LightMyRequestResponse['headers'] }> {
  const response = await bench.api.app.inject({
    ...request,
    headers: { host: '127.0.0.1:7480', ...request.headers },
  } as InjectOptions);
  expect(`${response.statusCode} ${response.body}`).toMatch(new RegExp(`^${status} `));
  const body: Json = response.json();
  if (status >= 400 && String(response.headers['content-type']).includes('problem')) {
    expect([...Value.Errors(Problem, body)]).toEqual([]);
    expect(body).toMatchObject({ status });
  } else {
    const schema = responseSchema(bench.api.app, request, status);
    expect([...Value.Errors(schema, body)]).toEqual([]);
  }
  return { body, headers: response.headers };
}

/** The schema that the OpenAPI document gives for this answer. */
function responseSchema(
  app: FastifyInstance,
  request: { method: string; url: string },
  status: number,
): object {
  const { paths } = app.swagger() as Json;
  const path = request.url.replace(/\?.*/, '');
  const template = Object.keys(paths).find((candidate) =>
    new RegExp(`^${candidate.replaceAll(/\{[^}]+\}/g, '[^/]+')}$`).test(path),
  );
  expect(template, `no route in the OpenAPI document for ${path}`).toBeDefined();
  const response = paths[template as string][request.method.toLowerCase()].responses[status];
  expect(response, `no ${status} documented for ${path}`).toBeDefined();
  return response.content['application/json'].schema;
}

/** Lets virtual time pass, timer by timer, until `work` is done. */
export async function passing(bench: Bench, work: Promise<unknown>): Promise<void> {
  let isDone = false;
  const note = (): void => {
    isDone = true;
  };
  void work.then(note, note);
  for (let turns = 0; !isDone && turns < 5000; turns++) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    if (bench.clock.pending > 0) await bench.clock.advance(1);
  }
}
