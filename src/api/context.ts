/** What every route gets: the options of the API, the ports behind it, and who is calling. */
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyTypeProvider,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { Static, TSchema } from 'typebox';
import type { ClusterSpec } from '../model/cluster.ts';
import type { DirectorId, GroupId } from '../model/ids.ts';
import type { Keys } from '../model/keys.ts';
import type { AgentView } from '../ports/agent-view.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore } from '../ports/cluster-store.ts';
import type { DocumentCodec } from '../ports/document-codec.ts';
import type { Log } from '../ports/log.ts';
import type { MetricsText } from '../ports/metrics-text.ts';
import type { Random } from '../ports/random.ts';
import type { RebalanceMove } from './schemas/responses.ts';
import type { Turns } from './turns.ts';

/** Each role may do all that the ones before it may. */
export const ROLES = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export type ApiToken = { readonly name: string; readonly role: Role; readonly token: string };

/** What an apply would take away that looks like an accident, in words and names. */
export type ShrinkRefusal = {
  readonly message: string;
  readonly removedGroups: readonly string[];
  readonly removedServices: readonly string[];
  readonly removedRealServers: readonly string[];
};

/** Null: nothing to confirm. In pieces, as documents may be long; injected, as the rule is a decision of the core. */
export type ShrinkCheck = (
  before: ClusterSpec | null,
  after: ClusterSpec,
) => Generator<undefined, ShrinkRefusal | null>;

/** What an operator's rebalance would move. Injected, as the rule is a decision of the core. */
export type RebalancePlanner = (input: {
  readonly situation: {
    readonly directors: ClusterSpec['directors'];
    readonly groups: ClusterSpec['groups'];
    readonly owners: ReadonlyMap<GroupId, DirectorId | null>;
    readonly able: ReadonlySet<DirectorId>;
    readonly bonus: (director: DirectorId, group: GroupId) => number;
  };
  readonly canHold: (director: DirectorId, group: GroupId) => boolean;
}) => {
  readonly moves: readonly {
    readonly group: GroupId;
    readonly from: DirectorId;
    readonly to: DirectorId;
    readonly reason: NonNullable<RebalanceMove['reason']>;
  }[];
  readonly bound: number;
  readonly before: ReadonlyMap<DirectorId, number>;
  readonly after: ReadonlyMap<DirectorId, number>;
};

export type ApiOptions = {
  /** Port 0 lets the kernel choose. Anything but loopback needs `tls` and `tokens`. */
  readonly listen: { readonly host: string; readonly port: number };
  /** PEM texts; null: plain HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string } | null;
  /** None or null: every caller is `local` with all rights. */
  readonly tokens?: readonly ApiToken[] | null;
  readonly version: string;
  readonly checkShrink: ShrinkCheck;
  readonly planRebalance: RebalancePlanner;
};

export type ApiPorts = {
  readonly view: AgentView;
  readonly store: ClusterStore;
  readonly codec: DocumentCodec;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: MetricsText;
  readonly log: Log;
};

/** Who asks: the token's name, or `local` where no tokens are configured. */
export type Caller = { readonly name: string; readonly role: Role };

export type ApiContext = ApiOptions &
  ApiPorts & {
    /** Open event streams; aborted when the server closes. */
    readonly streams: Set<AbortController>;
    /** For all that reads whole documents. */
    readonly documents: Turns;
  };

/** Lets Fastify derive the types of body, query, params and headers from the TypeBox schemas. */
export interface TypeBoxTypeProvider extends FastifyTypeProvider {
  validator: this['schema'] extends TSchema ? Static<this['schema']> : unknown;
  serializer: unknown;
}

/** The app as routes see it: their handlers are typed by their schemas. */
export type TypedApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Least role that may call the route; default `viewer`. `open`: no token needed. */
    role?: Role | 'open';
  }
  interface FastifyRequest {
    caller: Caller;
  }
}
