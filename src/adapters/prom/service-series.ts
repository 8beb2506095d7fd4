/**
 * The series of services and real servers, written when Prometheus asks: there may be tens of thousands, which
 * nobody should set each second, and while they are written other work goes on.
 */
import { DIRECTIONS } from '../../ports/service-reading.ts';
import type {
  RealServerReading,
  ServiceReading,
  ServicesReading,
  TrafficReading,
} from '../../ports/service-reading.ts';
import type { CounterSpec, GaugeSpec } from './catalogue.ts';
import { SERVICE_CATALOGUE } from './service-catalogue.ts';

type Key = keyof typeof SERVICE_CATALOGUE;
type Spec = GaugeSpec | CounterSpec;

/** Things written between two breaths of the process. */
const AT_ONCE = 25;

export type ServiceSeriesOptions = {
  /** Labels of every sample. */
  readonly labels: Readonly<Record<string, string>>;
  /** With more real servers than this, the series of each of them are left out. */
  readonly realServers: number;
};

/** Text of the whole section; `reading` null: nothing is known yet, and there are no samples. */
export async function renderServiceSeries(
  reading: ServicesReading | null,
  { labels, realServers: limit }: ServiceSeriesOptions,
): Promise<string> {
  const writer = new Writer(labels);
  if (reading !== null) {
    const isEach = reading.realServers <= limit;
    writer.add('realServers', {}, reading.realServers);
    writer.add('realServerSeries', {}, Number(isEach));
    let written = 0;
    for (const service of reading.services()) {
      writeService(writer, service);
      if (++written % AT_ONCE === 0) await breathe();
      if (!isEach) continue;
      for (const server of service.realServers()) {
        writeRealServer(writer, service.service, server);
        if (++written % AT_ONCE === 0) await breathe();
      }
    }
  }
  return writer.text();
}

const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function writeService(writer: Writer, reading: ServiceReading): void {
  const labels = { service: reading.service };
  const { quorum, traffic } = reading;
  if (quorum !== null) {
    writer.add('serviceQuorumUp', labels, Number(quorum.isUp));
    writer.add('serviceLiveWeight', labels, quorum.live);
    writer.add('serviceQuorumWeight', labels, quorum.needed);
  }
  writer.add('serviceSorryActive', labels, Number(reading.isSorryActive));
  writer.add('serviceFailOpen', labels, Number(reading.isFailOpen));
  writer.add('serviceDraining', labels, reading.draining);
  if (traffic !== null) writeTraffic(writer, 'service', labels, traffic);
}

function writeRealServer(writer: Writer, service: string, reading: RealServerReading): void {
  const labels = { service, real_server: reading.realServer };
  writer.add('realServerUp', labels, Number(reading.isUp));
  writer.add('realServerWeight', labels, reading.weight);
  if (reading.health !== null) {
    const { votesUp, votesDown, changedAtMs } = reading.health;
    writer.add('realServerVotes', { ...labels, result: 'up' }, votesUp);
    writer.add('realServerVotes', { ...labels, result: 'down' }, votesDown);
    if (changedAtMs !== null) writer.add('realServerChanged', labels, changedAtMs / 1000);
  }
  if (reading.draining !== null) writer.add('realServerDrainConnections', labels, reading.draining);
  if (reading.traffic !== null) writeTraffic(writer, 'realServer', labels, reading.traffic);
}

function writeTraffic(
  writer: Writer,
  of: 'service' | 'realServer',
  labels: Readonly<Record<string, string>>,
  { active, inactive, templates, counters, rates }: TrafficReading,
): void {
  writer.add(`${of}Active`, labels, active);
  writer.add(`${of}Inactive`, labels, inactive);
  writer.add(`${of}Templates`, labels, templates);
  writer.add(`${of}Connections`, labels, counters.connections);
  writer.add(`${of}ConnectionsRate`, labels, rates.connections);
  for (const direction of DIRECTIONS) {
    const both = { ...labels, direction };
    const isIn = direction === 'in';
    writer.add(`${of}Packets`, both, isIn ? counters.packetsIn : counters.packetsOut);
    writer.add(`${of}Bytes`, both, isIn ? counters.bytesIn : counters.bytesOut);
    writer.add(`${of}PacketsRate`, both, isIn ? rates.packetsIn : rates.packetsOut);
    writer.add(`${of}BytesRate`, both, isIn ? rates.bytesIn : rates.bytesOut);
  }
}

/** Prometheus wants all samples of a metric together. */
class Writer {
  readonly #common: string;
  readonly #samples = new Map<Key, string[]>();

  constructor(labels: Readonly<Record<string, string>>) {
    this.#common = labelText(labels);
    for (const key of KEYS) this.#samples.set(key, []);
  }

  add(key: Key, labels: Readonly<Record<string, string>>, value: number): void {
    const own = labelText(labels);
    const all = own === '' ? this.#common : `${own},${this.#common}`;
    this.#samples.get(key)?.push(`${SERVICE_CATALOGUE[key].name}{${all}} ${value}`);
  }

  text(): string {
    const parts: string[] = [];
    for (const [key, samples] of this.#samples) {
      const { name, help, type }: Spec = SERVICE_CATALOGUE[key];
      parts.push(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
      if (samples.length > 0) parts.push(`${samples.join('\n')}\n`);
    }
    return parts.join('');
  }
}

const isKey = (name: string): name is Key => Object.hasOwn(SERVICE_CATALOGUE, name);
const KEYS = Object.keys(SERVICE_CATALOGUE).filter(isKey);

const labelText = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(',');

/** As the text format asks for (exposition formats, Prometheus). */
const escapeLabel = (value: string): string =>
  /["\\\n]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    : value;
