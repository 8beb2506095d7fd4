/** The shape of the cluster document (design 9). What values mean together: `rules.ts`. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { NAME_PATTERN } from '../model/ids.ts';
import {
  Address,
  Cidr,
  Command,
  Count,
  Duration,
  File,
  Name,
  named,
  strict,
  User,
} from './schema-words.ts';
import { ConnectionSyncSchema, IpvsSchema, ServiceSchema } from './service-schema.ts';

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

/** VIPs of one group. */
export const GROUP_ADDRESSES_MAX = 200;

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
      maxItems: GROUP_ADDRESSES_MAX,
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
    connectionSync: Type.Optional(ConnectionSyncSchema),
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
    ipvs: Type.Optional(IpvsSchema),
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
