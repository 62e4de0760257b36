/** gRPC's server reflection: clients like grpcurl learn here what there is to call. v1 and v1alpha differ in their name only. */
import { reflectionMessages } from '../messages/health.ts';
import { type ServiceTable, streaming } from '../method.ts';
import { type DescriptorFile, descriptorFiles } from '../protobuf/descriptor.ts';
import { CODE } from '../status.ts';

const PACKAGES = ['grpc.reflection.v1', 'grpc.reflection.v1alpha'];

/** @param services what is shown, beside the services of reflection themselves. */
export function reflectionServices(services: readonly ServiceTable[]): ServiceTable[] {
  const shown: ServiceTable[] = [...services];
  // Made when first asked for: most clients never do.
  let files: ReadonlyMap<string, DescriptorFile> | undefined;
  const reflections = PACKAGES.map((name) =>
    reflectionService(
      name,
      () => shown.map((service) => service.name),
      () => {
        files ??= descriptorFiles(shown);
        return files;
      },
    ),
  );
  shown.push(...reflections);
  return reflections;
}

function reflectionService(
  packageName: string,
  names: () => readonly string[],
  files: () => ReadonlyMap<string, DescriptorFile>,
): ServiceTable {
  const { ServerReflectionRequest, ServerReflectionResponse, ErrorResponse } =
    reflectionMessages(packageName);
  const answer = (
    request: ReturnType<typeof ServerReflectionRequest.create>,
  ): Partial<ReturnType<typeof ServerReflectionResponse.create>> => {
    const { file_by_filename: name, file_containing_symbol: symbol, list_services: list } = request;
    if (list !== undefined) {
      return { list_services_response: { service: names().map((one) => ({ name: one })) } };
    }
    const file =
      name === undefined
        ? [...files().values()].find(({ symbols }) => symbols.has(symbol ?? ''))
        : files().get(name);
    if (file === undefined) {
      const error_message = 'there is no such file, symbol or extension';
      return { error_response: ErrorResponse.create({ error_code: CODE.NOT_FOUND, error_message }) };
    }
    const file_descriptor_proto = withDependencies(file, files()).map(({ bytes }) => bytes);
    return { file_descriptor_response: { file_descriptor_proto } };
  };
  return {
    name: `${packageName}.ServerReflection`,
    methods: [
      streaming('ServerReflectionInfo', ServerReflectionRequest, ServerReflectionResponse, true, (call) => ({
        message: (request) =>
          call.send(
            ServerReflectionResponse.create({
              valid_host: request.host,
              original_request: request,
              ...answer(request),
            }),
          ),
        clientEnded: () => call.end(),
        over: () => undefined,
        roomAgain: () => undefined,
      })),
    ],
  };
}

/** A file and all that it stands on. */
function withDependencies(
  file: DescriptorFile,
  files: ReadonlyMap<string, DescriptorFile>,
  found: DescriptorFile[] = [],
): DescriptorFile[] {
  if (found.includes(file)) return found;
  found.push(file);
  for (const name of file.dependencies) {
    const other = files.get(name);
    if (other !== undefined) withDependencies(other, files, found);
  }
  return found;
}
