/** The one place where @peculiar/x509 is imported: it fails to load unless reflect-metadata is there first. */
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'

export { x509 }
