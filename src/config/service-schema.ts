/** The shape of virtual services, and of what else concerns IPVS, in the cluster document. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { SCHEDULER_FLAGS, SCHEDULERS, TUNNEL_CHECKSUMS, TUNNEL_TYPES } from '../model/cluster.ts';
import { CheckSchema, OwnCheckSchema } from './check-schema.ts';
import { Address, Command, Count, Duration, Name, Port, strict, User } from './schema-words.ts';
import { SYSCTLS } from './sysctls.ts';

/** The kernel counts weights, thresholds and sums of weights in signed 32 bits. */
const KERNEL_INT_MAX = 0x7fff_ffff;

const Forward = Type.Enum(['dr', 'nat', 'tun']);
const Protocol = Type.Enum(['tcp', 'udp', 'sctp']);
const Weight = Type.Integer({ minimum: 0, maximum: KERNEL_INT_MAX });
const Threshold = Type.Integer({ minimum: 0, maximum: KERNEL_INT_MAX });
const PortOrAll = Type.Integer({
  minimum: 0,
  maximum: 65_535,
  description: 'a port from 1 to 65535, or 0 for all ports',
});
const Ports = Type.Array(Type.Union([Port, Type.String({ pattern: '^[0-9]{1,5}-[0-9]{1,5}$' })]), {
  minItems: 1,
  maxItems: 256,
  description: 'a list of 1 to 256 ports, each a number or a range such as "8000-8010"',
});
const Addresses = Type.Array(Type.String(), {
  minItems: 1,
  maxItems: 256,
  description:
    'a list of 1 to 256 addresses, each one address, a range such as 10.90.0.100-110 or a network such as 10.90.0.96/28',
});

export const TunnelSchema = Type.Object(
  {
    type: Type.Optional(Type.Enum([...TUNNEL_TYPES])),
    port: Type.Optional(Port),
    checksum: Type.Optional(Type.Enum([...TUNNEL_CHECKSUMS])),
  },
  strict,
);

const forwarding = {
  forward: Type.Optional(Forward),
  tunnel: Type.Optional(TunnelSchema),
};

export const RealServerSchema = Type.Object(
  {
    address: Address,
    port: Type.Optional(Port),
    weight: Type.Optional(Weight),
    ...forwarding,
    upperThreshold: Type.Optional(Threshold),
    lowerThreshold: Type.Optional(Threshold),
    alpha: Type.Optional(Type.Boolean()),
    inhibitOnFailure: Type.Optional(Type.Boolean()),
    check: Type.Optional(OwnCheckSchema),
  },
  strict,
);

const SorryServerSchema = Type.Object(
  {
    address: Address,
    port: Type.Optional(Port),
    ...forwarding,
    inhibit: Type.Optional(Type.Boolean()),
  },
  strict,
);

const MarkSchema = Type.Object(
  {
    address: Type.Optional(Address),
    addresses: Type.Optional(Addresses),
    protocol: Type.Optional(Protocol),
    port: Type.Optional(PortOrAll),
    ports: Type.Optional(Ports),
  },
  strict,
);

const PersistenceSchema = Type.Object(
  {
    timeout: Type.Optional(Duration),
    prefix: Type.Optional(Count(128)),
    engine: Type.Optional(Type.Enum(['sip'])),
  },
  strict,
);

const QuorumSchema = Type.Union(
  [
    Count(KERNEL_INT_MAX),
    Type.Object(
      {
        need: Type.Optional(Count(KERNEL_INT_MAX)),
        hysteresis: Type.Optional(Type.Integer({ minimum: 0, maximum: KERNEL_INT_MAX })),
        up: Type.Optional(Command),
        down: Type.Optional(Command),
        timeout: Type.Optional(Duration),
        user: Type.Optional(User),
      },
      strict,
    ),
  ],
  {
    description:
      'a sum of weights from 1 on, or a map with need, hysteresis, up, down, timeout, user',
  },
);

/** Which of the places (address, firewall mark) go together: `places.ts`. */
export const ServiceSchema = Type.Object(
  {
    group: Name,
    address: Type.Optional(Address),
    addresses: Type.Optional(Addresses),
    port: Type.Optional(PortOrAll),
    ports: Type.Optional(Ports),
    protocol: Type.Optional(Protocol),
    fwmark: Type.Optional(Count(0xffff_ffff)),
    family: Type.Optional(Type.Enum(['inet', 'inet6'])),
    marks: Type.Optional(
      Type.Array(MarkSchema, {
        minItems: 1,
        maxItems: 256,
        description: 'a list of 1 to 256 maps, each with address or addresses, protocol, ports',
      }),
    ),
    scheduler: Type.Optional(Type.Enum([...SCHEDULERS])),
    schedulerFlags: Type.Optional(
      Type.Array(Type.Enum([...SCHEDULER_FLAGS]), {
        minItems: 1,
        maxItems: SCHEDULER_FLAGS.length,
        description: `a list of: ${SCHEDULER_FLAGS.join(', ')}`,
      }),
    ),
    ops: Type.Optional(Type.Boolean()),
    ...forwarding,
    persistence: Type.Optional(PersistenceSchema),
    check: Type.Optional(CheckSchema),
    alpha: Type.Optional(Type.Boolean()),
    inhibitOnFailure: Type.Optional(Type.Boolean()),
    quorum: Type.Optional(QuorumSchema),
    failOpen: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100,
        description: 'a percentage from 1 to 100 of all weights',
      }),
    ),
    slowStart: Type.Optional(Duration),
    weightFrom: Type.Optional(Type.Enum(['check'])),
    drain: Type.Optional(Type.Object({ deadline: Duration }, strict)),
    realServers: Type.Array(RealServerSchema, { maxItems: 20_000 }),
    sorryServer: Type.Optional(SorryServerSchema),
  },
  strict,
);

export const ConnectionSyncSchema = Type.Object(
  {
    id: Type.Optional(Type.Integer({ minimum: 0, maximum: 255 })),
    interface: Type.Optional(Name),
    group: Type.Optional(Address),
    port: Type.Optional(Port),
    ttl: Type.Optional(Count(255)),
    maxLength: Type.Optional(Count(65_507)),
    catchUp: Type.Optional(Duration),
  },
  strict,
);

export const IpvsSchema = Type.Object(
  {
    timeouts: Type.Optional(
      Type.Object(
        {
          tcp: Type.Optional(Duration),
          tcpFin: Type.Optional(Duration),
          udp: Type.Optional(Duration),
        },
        strict,
      ),
    ),
    standby: Type.Optional(Type.Enum(['warm', 'cold'])),
    onExit: Type.Optional(Type.Enum(['release', 'freeze'])),
    sysctls: Type.Optional(
      Type.Object(
        Object.fromEntries(SYSCTLS.map(({ name, value }) => [name, Type.Optional(value)])),
        strict,
      ),
    ),
  },
  strict,
);

export type ServiceDocument = Static<typeof ServiceSchema>;
export type RealServerDocument = Static<typeof RealServerSchema>;
export type SorryServerDocument = Static<typeof SorryServerSchema>;
export type TunnelDocument = Static<typeof TunnelSchema>;
export type QuorumDocument = Static<typeof QuorumSchema>;
export type ConnectionSyncDocument = Static<typeof ConnectionSyncSchema>;
export type IpvsDocument = Static<typeof IpvsSchema>;
