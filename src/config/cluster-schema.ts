/** The shape of the cluster document (design 9). What values mean together: `rules.ts`. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { SCHEDULERS } from '../model/cluster.ts';
import { NAME_PATTERN } from '../model/ids.ts';
import { DURATION_HELP, DURATION_PATTERN } from './durations.ts';

const strict = { additionalProperties: false } as const;

const Name = Type.String({
  pattern: NAME_PATTERN,
  description:
    'a name: 1 to 63 letters, digits, dots, dashes, underscores, beginning with a letter or digit',
});
const Duration = Type.String({ pattern: DURATION_PATTERN, description: DURATION_HELP });
const Address = Type.String({ description: 'an IPv4 or IPv6 address' });
const Cidr = Type.String({ description: 'address/prefix, e.g. 10.90.0.100/24 or fd90::100/64' });
const Port = Type.Integer({ minimum: 1, maximum: 65535 });
const Forward = Type.Enum(['dr', 'nat', 'tun']);
const Weight = Type.Integer({ minimum: 0, maximum: 65535 });

const named = <S extends Type.TSchema>(schema: S, description: string, minProperties = 0) =>
  Type.Record(Type.String({ pattern: NAME_PATTERN }), schema, {
    ...strict,
    minProperties,
    description,
  });

export const TimingSchema = Type.Object(
  {
    profile: Type.Optional(Type.Enum(['fast', 'default', 'relaxed'])),
    heartbeat: Type.Optional(Duration),
    suspect: Type.Optional(Duration),
    round: Type.Optional(Duration),
    hold: Type.Optional(Duration),
    slack: Type.Optional(Duration),
    drift: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
    leaseTtl: Type.Optional(Duration),
  },
  strict,
);

const DirectorSchema = Type.Object({ address: Address, zone: Type.Optional(Name) }, strict);

const Count = (maximum: number) => Type.Integer({ minimum: 1, maximum });
const File = Type.String({
  pattern: '^/[^\\0]*$',
  maxLength: 4096,
  description: 'an absolute path',
});
const User = Type.String({
  pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?$',
  description: 'a user, or user:group, by name or by number',
});
const Command = Type.Union(
  [
    Type.String({ minLength: 1, maxLength: 4096 }),
    Type.Array(Type.String({ maxLength: 4096 }), { minItems: 1, maxItems: 64 }),
  ],
  {
    description:
      'a program with its arguments: a text that is split at spaces, or a list of 1 to 64 words',
  },
);

/** One kind a track; which of the others belong to it: `rules-groups.ts`. */
export const TrackSchema = Type.Object(
  {
    interface: Type.Optional(
      Type.String({
        pattern: '^[^\\s/:]{1,63}$',
        description: 'a device such as eth1, or a logical interface name',
      }),
    ),
    script: Type.Optional(Command),
    process: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 4096,
        description: 'the name of a program, or its absolute path',
      }),
    ),
    file: Type.Optional(File),
    weight: Type.Optional(Type.Integer({ minimum: -253, maximum: 253 })),
    interval: Type.Optional(Duration),
    timeout: Type.Optional(Duration),
    rise: Type.Optional(Count(100)),
    fall: Type.Optional(Count(100)),
    user: Type.Optional(User),
    initFail: Type.Optional(Type.Boolean()),
    quorum: Type.Optional(Count(65_535)),
    delay: Type.Optional(Duration),
  },
  strict,
);

export const NotifySchema = Type.Object(
  {
    master: Type.Optional(Command),
    backup: Type.Optional(Command),
    fault: Type.Optional(Command),
    stop: Type.Optional(Command),
    any: Type.Optional(Command),
    fifo: Type.Optional(File),
    timeout: Type.Optional(Duration),
    user: Type.Optional(User),
  },
  strict,
);

export const GroupAddressSchema = Type.Object(
  {
    address: Cidr,
    interface: Type.Optional(Name),
    label: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9._-]{1,13}$',
        description:
          '1 to 13 letters, digits, dots, dashes; "<device>:<label>" has 15 characters at most',
      }),
    ),
    scope: Type.Optional(Type.Enum(['global', 'site', 'link', 'host'])),
    advertise: Type.Optional(Type.Boolean()),
  },
  strict,
);

const Ttl = Type.Integer({ minimum: 0, maximum: 255 });

const VrrpKeySchema = Type.Object(
  {
    id: Type.Integer({ minimum: 0, maximum: 255 }),
    key: Type.String({
      pattern: '^(?:[0-9a-fA-F]{2}){32,64}$',
      description: '32 to 64 bytes in hexadecimal digits (openssl rand -hex 32)',
    }),
  },
  strict,
);

export const VrrpSchema = Type.Object(
  {
    version: Type.Optional(Type.Integer({ minimum: 2, maximum: 3 })),
    interval: Type.Optional(Duration),
    auth: Type.Optional(
      Type.Object(
        {
          pass: Type.Optional(
            Type.String({ pattern: '^[!-~]{1,8}$', description: '1 to 8 visible characters' }),
          ),
          hmac: Type.Optional(
            Type.Array(VrrpKeySchema, {
              minItems: 1,
              maxItems: 8,
              description: 'a list of 1 to 8 maps, each with id and key; the first one signs',
            }),
          ),
        },
        strict,
      ),
    ),
    neighbours: Type.Optional(
      Type.Array(
        Type.Union([
          Address,
          Type.Object(
            { address: Address, minTtl: Type.Optional(Ttl), maxTtl: Type.Optional(Ttl) },
            strict,
          ),
        ]),
        {
          minItems: 1,
          maxItems: 32,
          description: 'a list of 1 to 32 addresses, each a text or a map with address',
        },
      ),
    ),
    multicast: Type.Optional(Type.Boolean()),
    checksum: Type.Optional(Type.Enum(['pseudo-header', 'old-unicast', 'message-only'])),
  },
  strict,
);

export const GroupSchema = Type.Object(
  {
    addresses: Type.Array(Type.Union([Cidr, GroupAddressSchema]), {
      minItems: 1,
      maxItems: 200,
      description: 'a list of 1 to 200 addresses, each "address/prefix" or a map with address',
    }),
    interface: Type.Optional(Name),
    virtualRouterId: Type.Optional(Type.Integer({ minimum: 1, maximum: 255 })),
    vrrp: Type.Optional(VrrpSchema),
    priorities: Type.Optional(
      Type.Record(
        Type.String({ pattern: NAME_PATTERN }),
        Type.Integer({ minimum: 1, maximum: 255 }),
        {
          ...strict,
          minProperties: 1,
          description:
            'a map of at least one director name to its priority from 1 to 254, or 255 as the owner of a virtual router',
        },
      ),
    ),
    preempt: Type.Optional(
      Type.Union(
        [
          Type.Literal('never'),
          Type.Literal('immediate'),
          Type.Object({ after: Duration }, strict),
        ],
        { description: 'never, immediate, or { after: <duration> }' },
      ),
    ),
    weight: Type.Optional(Count(1000)),
    antiAffinity: Type.Optional(
      Type.Array(Name, { minItems: 1, maxItems: 255, description: 'a list of other groups' }),
    ),
    track: Type.Optional(
      Type.Array(TrackSchema, {
        maxItems: 64,
        description: 'a list of at most 64 maps, each with one of interface, script, process, file',
      }),
    ),
    notify: Type.Optional(NotifySchema),
  },
  strict,
);

const StatusRange = Type.Union(
  [
    Type.Integer({ minimum: 100, maximum: 599 }),
    Type.String({ pattern: '^[1-5][0-9]{2}-[1-5][0-9]{2}$' }),
  ],
  { description: 'a status code from 100 to 599, or a range such as "300-399"' },
);

const httpProperties = {
  path: Type.Optional(
    Type.String({
      pattern: '^/[!-~]*$',
      maxLength: 1024,
      description: 'a path that begins with a slash, without spaces',
    }),
  ),
  status: Type.Optional(
    Type.Union([StatusRange, Type.Array(StatusRange, { minItems: 1, maxItems: 32 })], {
      description: '200, "200-299", or a list of them such as [200, "300-399"]',
    }),
  ),
  method: Type.Optional(Type.Enum(['GET', 'HEAD'])),
  host: Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$',
      description: 'a host name',
    }),
  ),
};

export const CheckSchema = Type.Object(
  {
    tcp: Type.Optional(Type.Object({}, strict)),
    http: Type.Optional(Type.Object(httpProperties, strict)),
    https: Type.Optional(
      Type.Object({ ...httpProperties, verify: Type.Optional(Type.Boolean()) }, strict),
    ),
    interval: Type.Optional(Duration),
    timeout: Type.Optional(Duration),
    rise: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
    fall: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
    port: Type.Optional(Port),
  },
  strict,
);

export const RealServerSchema = Type.Object(
  {
    address: Address,
    port: Type.Optional(Port),
    weight: Type.Optional(Weight),
    forward: Type.Optional(Forward),
  },
  strict,
);

export const ServiceSchema = Type.Object(
  {
    group: Name,
    address: Address,
    port: Port,
    protocol: Type.Optional(Type.Enum(['tcp', 'udp', 'sctp'])),
    scheduler: Type.Optional(Type.Enum([...SCHEDULERS])),
    forward: Type.Optional(Forward),
    persistence: Type.Optional(Type.Object({ timeout: Duration }, strict)),
    check: Type.Optional(CheckSchema),
    alpha: Type.Optional(Type.Boolean()),
    inhibitOnFailure: Type.Optional(Type.Boolean()),
    realServers: Type.Array(RealServerSchema, { maxItems: 20_000 }),
    sorryServer: Type.Optional(
      Type.Object(
        { address: Address, port: Type.Optional(Port), forward: Type.Optional(Forward) },
        strict,
      ),
    ),
  },
  strict,
);

const IsolationPolicy = Type.Enum(['gateway', 'release']);

export const IsolationSchema = Type.Object(
  {
    policy: Type.Optional(IsolationPolicy),
    targets: Type.Optional(
      Type.Array(Address, {
        minItems: 1,
        maxItems: 16,
        description: 'a list of 1 to 16 addresses that are asked instead of those of gateway',
      }),
    ),
    mode: Type.Optional(Type.Enum(['any', 'all'])),
  },
  strict,
);

/** The whole document, as YAML or JSON. */
export const ClusterDocument = Type.Object(
  {
    apiVersion: Type.Literal('leasehold/v1'),
    timing: Type.Optional(TimingSchema),
    directors: named(DirectorSchema, 'a map of at least one director: { d1: { address } }', 1),
    gateway: Type.Optional(
      Type.Array(Address, {
        minItems: 1,
        maxItems: 16,
        description: "a list of 1 to 16 addresses of the gateways in the VIPs' networks",
      }),
    ),
    isolation: Type.Optional(
      Type.Union([IsolationPolicy, IsolationSchema], {
        description: 'gateway, release, or a map with policy, targets, mode',
      }),
    ),
    groups: Type.Optional(named(GroupSchema, 'a map of VIP groups: { web: { addresses } }')),
    services: Type.Optional(
      named(ServiceSchema, 'a map of virtual services: { web-http: { group, address, port } }'),
    ),
    checkers: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  },
  strict,
);

export type ClusterDocument = Static<typeof ClusterDocument>;
export type TimingDocument = Static<typeof TimingSchema>;
export type GroupDocument = Static<typeof GroupSchema>;
export type TrackDocument = Static<typeof TrackSchema>;
export type NotifyDocument = Static<typeof NotifySchema>;
export type CommandDocument = Static<typeof Command>;
export type ServiceDocument = Static<typeof ServiceSchema>;
export type CheckDocument = Static<typeof CheckSchema>;
export type RealServerDocument = Static<typeof RealServerSchema>;
