/** One IPVS operation as the body of one generic netlink request. Source: linux/ip_vs.h. */
import { unreachable } from '../lib/assert.ts';
import type { IpvsControlOperation, IpvsOperation, IpvsTableOperation } from '../model/kernel.ts';
import {
  IPVS_CMD_DEL_DAEMON,
  IPVS_CMD_DEL_DEST,
  IPVS_CMD_DEL_SERVICE,
  IPVS_CMD_NEW_DAEMON,
  IPVS_CMD_NEW_DEST,
  IPVS_CMD_NEW_SERVICE,
  IPVS_CMD_SET_CONFIG,
  IPVS_CMD_SET_DEST,
  IPVS_CMD_SET_SERVICE,
  IPVS_CMD_ZERO,
  startRequest,
} from './ipvs-common.ts';
import { encodeDaemon, encodeDaemonState, encodeTimeouts } from './ipvs-control.ts';
import { encodeDestination, encodeEndpoint } from './ipvs-destination.ts';
import { encodeService, encodeServiceKey } from './ipvs-service.ts';
import { AttributeWriter } from './netlink.ts';

/** Body of the request that performs one operation; many of them may share a writer. */
export function encodeOperation(
  operation: IpvsOperation,
  writer: AttributeWriter = new AttributeWriter(),
): Uint8Array {
  switch (operation.op) {
    case 'zero':
    case 'set-timeouts':
    case 'new-daemon':
    case 'delete-daemon':
      return encodeControlOperation(operation, writer);
    default:
      return encodeTableOperation(operation, writer);
  }
}

function encodeTableOperation(operation: IpvsTableOperation, writer: AttributeWriter): Uint8Array {
  const start = (command: number): AttributeWriter => startRequest(command, writer);
  switch (operation.op) {
    case 'add-service':
      return encodeService(start(IPVS_CMD_NEW_SERVICE), operation.service);
    case 'set-service':
      return encodeService(start(IPVS_CMD_SET_SERVICE), operation.service);
    case 'delete-service':
      return encodeServiceKey(start(IPVS_CMD_DEL_SERVICE), operation.service).finish();
    case 'add-destination':
      return encodeDestination(start(IPVS_CMD_NEW_DEST), operation.service, operation.destination);
    case 'set-destination':
      return encodeDestination(start(IPVS_CMD_SET_DEST), operation.service, operation.destination);
    case 'delete-destination':
      return encodeEndpoint(start(IPVS_CMD_DEL_DEST), operation.service, operation.destination);
    default:
      return unreachable(operation);
  }
}

function encodeControlOperation(
  operation: IpvsControlOperation,
  writer: AttributeWriter,
): Uint8Array {
  const start = (command: number): AttributeWriter => startRequest(command, writer);
  switch (operation.op) {
    case 'zero': {
      const request = start(IPVS_CMD_ZERO);
      // Without a service the kernel sets all of them, and its totals, to zero.
      if (operation.service !== null) encodeServiceKey(request, operation.service);
      return request.finish();
    }
    case 'set-timeouts':
      return encodeTimeouts(start(IPVS_CMD_SET_CONFIG), operation.timeouts);
    case 'new-daemon':
      return encodeDaemon(start(IPVS_CMD_NEW_DAEMON), operation.daemon);
    case 'delete-daemon':
      return encodeDaemonState(start(IPVS_CMD_DEL_DAEMON), operation.daemon);
    default:
      return unreachable(operation);
  }
}
