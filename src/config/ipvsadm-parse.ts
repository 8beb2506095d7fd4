/** What `ipvsadm -S -n` printed, or a script for `ipvsadm -R`, as an IPVS table. Source: ipvsadm(8). */
import { err, ok, type Result } from '../lib/result.ts';
import { formatEndpoint } from '../model/address.ts';
import {
  type DesiredService,
  formatServiceKey,
  type IpvsDestination,
  type IpvsService,
} from '../model/kernel.ts';
import { type Command, complain, type Complaint, readCommand } from './ipvsadm-line.ts';
import { readDestination, readEndpoint, readKey, readService } from './ipvsadm-values.ts';
import type { Problem } from './problem.ts';

/** Problems beyond these are counted, not listed. */
const MAX_PROBLEMS = 100;

type Server = { readonly destination: IpvsDestination; readonly line: number };
type Entry = {
  readonly service: Omit<DesiredService, 'destinations'>;
  readonly line: number;
  readonly servers: Map<string, Server>;
};

/** A service, with the lines (from 1 on) that said last how it is. */
export type ReadService = {
  readonly service: DesiredService;
  readonly line: number;
  /** Of each destination, in their order. */
  readonly lines: readonly number[];
};

/**
 * The table that the lines build, in their order; or every line that cannot be read, with its remedy.
 * Edits, deletions and `-C` work on what the lines before them built; lines that follow a service
 * which could not be read are not blamed for it.
 */
export function parseIpvsadm(text: string): Result<readonly DesiredService[], readonly Problem[]> {
  const read = readIpvsadm(text);
  return read.ok ? ok(read.value.map(({ service }) => service)) : read;
}

/** What else speaks against a service; null: nothing. */
export type Judge = (service: IpvsService) => Complaint | null;

/** The same, with the lines where everything stands. */
export function readIpvsadm(
  text: string,
  judge: Judge = () => null,
): Result<readonly ReadService[], readonly Problem[]> {
  const table = new Map<string, Entry | null>();
  const problems: Problem[] = [];
  let count = 0;
  for (const [index, line] of text.split('\n').entries()) {
    const command = readCommand(line);
    const complaint = command.ok
      ? apply({ table, judge, line: index + 1 }, command.value)
      : command.error;
    if (complaint === null) continue;
    count++;
    if (count <= MAX_PROBLEMS) problems.push({ path: `line ${index + 1}`, ...complaint });
  }
  if (count > MAX_PROBLEMS)
    problems.push({ path: '', ...complain(`${count - MAX_PROBLEMS} more problems`, '') });
  if (count > 0) return err(problems);
  const services: ReadService[] = [];
  for (const entry of table.values()) {
    if (entry === null) continue;
    const servers = [...entry.servers.values()];
    const destinations = servers.map(({ destination }) => destination);
    services.push({
      service: { ...entry.service, destinations },
      line: entry.line,
      lines: servers.map(({ line }) => line),
    });
  }
  return ok(services);
}

/** A service that could not be read stays in the table as null. Null: done. */
function apply(
  {
    table,
    judge,
    line,
  }: {
    readonly table: Map<string, Entry | null>;
    readonly judge: Judge;
    readonly line: number;
  },
  command: Command | null,
): Complaint | null {
  if (command === null) return null;
  if (command.name === 'clear') {
    table.clear();
    return null;
  }
  const key = readKey(command.options);
  if (!key.ok) return key.error;
  const text = formatServiceKey(key.value);
  const entry = table.get(text);
  switch (command.name) {
    case 'add-service':
    case 'edit-service': {
      if (command.name === 'add-service' && entry !== undefined && entry !== null)
        return complain(`a second service ${text}`, 'each service once; -E changes one');
      if (command.name === 'edit-service' && entry === undefined) return noService(text);
      const service = readService(key.value, command.options);
      const complaint = service.ok ? judge(service.value) : service.error;
      if (complaint !== null && entry === undefined) table.set(text, null);
      if (!service.ok || complaint !== null) return complaint;
      table.set(text, {
        service: service.value,
        line,
        servers: entry?.servers ?? new Map<string, Server>(),
      });
      return null;
    }
    case 'delete-service':
      return table.delete(text) ? null : noService(text);
    default:
      if (entry === undefined) return noService(text);
      return entry === null ? null : applyServer(entry, command, line);
  }
}

function applyServer(entry: Entry, command: Command, line: number): Complaint | null {
  const { key } = entry.service;
  const service = formatServiceKey(key);
  if (command.name === 'delete-server') {
    const endpoint = readEndpoint(key, command.options);
    if (!endpoint.ok) return endpoint.error;
    const text = formatEndpoint(endpoint.value.address, endpoint.value.port);
    return entry.servers.delete(text) ? null : noServer(text, service);
  }
  const destination = readDestination(key, command.options);
  if (!destination.ok) return destination.error;
  const text = formatEndpoint(destination.value.address, destination.value.port);
  const isKnown = entry.servers.has(text);
  if (command.name === 'add-server' && isKnown)
    return complain(`a second real server ${text} of ${service}`, 'each once; -e changes one');
  if (command.name === 'edit-server' && !isKnown) return noServer(text, service);
  entry.servers.set(text, { destination: destination.value, line });
  return null;
}

const noService = (text: string): Complaint =>
  complain(`there is no service ${text} here`, 'a line "-A" for it before this one');

const noServer = (text: string, service: string): Complaint =>
  complain(`there is no real server ${text} of ${service} here`, 'a line "-a" for it before');
