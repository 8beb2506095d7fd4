/**
 * The kernel settings that the cluster document may name: those that concern a director. Ranges are the
 * kernel's. Sources: Documentation/networking/ipvs-sysctl.rst, ip-sysctl.rst.
 */
import Type from 'typebox';

const upTo = (maximum: number, minimum = 0) => Type.Integer({ minimum, maximum });
const FLAG = upTo(1);
const INT_MAX = 0x7fff_ffff;

const ROUTING = {
  'net.ipv4.ip_forward': FLAG,
  'net.ipv6.conf.all.forwarding': FLAG,
  'net.ipv4.conf.all.send_redirects': FLAG,
  'net.ipv4.conf.default.send_redirects': FLAG,
  'net.ipv4.conf.all.rp_filter': upTo(2),
  'net.ipv4.conf.default.rp_filter': upTo(2),
  'net.ipv4.conf.all.arp_ignore': upTo(8),
  'net.ipv4.conf.all.arp_announce': upTo(2),
} as const;

/** Below `net.ipv4.vs.`. */
const IPVS = {
  am_droprate: upTo(INT_MAX),
  amemthresh: upTo(INT_MAX),
  backup_only: FLAG,
  cache_bypass: FLAG,
  conn_reuse_mode: upTo(2),
  conntrack: FLAG,
  drop_entry: upTo(3),
  drop_packet: upTo(3),
  est_nice: upTo(19, -20),
  expire_nodest_conn: FLAG,
  expire_quiescent_template: FLAG,
  ignore_tunneled: FLAG,
  nat_icmp_send: FLAG,
  pmtu_disc: FLAG,
  run_estimation: FLAG,
  schedule_icmp: FLAG,
  secure_tcp: upTo(3),
  sloppy_sctp: FLAG,
  sloppy_tcp: FLAG,
  snat_reroute: FLAG,
  sync_persist_mode: FLAG,
  sync_ports: upTo(64, 1),
  sync_qlen_max: upTo(INT_MAX),
  sync_refresh_period: upTo(INT_MAX),
  sync_retries: upTo(3),
  sync_sock_size: upTo(INT_MAX),
  sync_threshold: Type.String({
    pattern: '^(0|[1-9][0-9]{0,8}) (0|[1-9][0-9]{0,8})$',
    description: 'two numbers, the first below the second: "3 50"',
  }),
  sync_version: FLAG,
} as const;

export type SysctlEntry = { readonly name: string; readonly value: Type.TInteger | Type.TString };

/** In the order in which they are told to users. */
export const SYSCTLS: readonly SysctlEntry[] = [
  ...Object.entries(ROUTING),
  ...Object.entries(IPVS).map(([name, value]) => [`net.ipv4.vs.${name}`, value] as const),
].map(([name, value]) => ({ name, value }));
