/** A plain value as YAML 1.2, for people and for `apply`. */
import { stringify } from 'yaml';

export const formatYaml = (value: unknown): string => stringify(value, { lineWidth: 100 });
